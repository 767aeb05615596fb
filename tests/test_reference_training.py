"""Training of reference models: alone, in stacks, on other threads, in two processes; interrupted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from reference_case import QUICK, SETTINGS, splits, workshop
from torch import nn

from securitynet.cache import ArrayCache
from securitynet.references import reference_answers
from securitynet.references.fit import Alone, groups
from securitynet.references.measure import Trial, Way, fastest, on_threads
from securitynet.references.networks import blueprint, create, logits_of, stackable
from securitynet.references.pool import Pool
from securitynet.references.stacked import train_stacked
from securitynet.training import train


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("n", [200, 203])
def test_stacked_and_sequential_training_agree(n: int, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    """In double precision, as training amplifies rounding. Halves of an odd pool differ in size: its stacks hold two of the four."""
    monkeypatch.setattr("securitynet.references.fit.create", lambda record, seed: create(record, seed).double())
    pool = Pool.of(splits(n))
    work, jobs = workshop(pool, accelerator)
    assert [len(group) for group in groups(jobs, 4)] == ([4] if n == 200 else [2, 2])
    found = []
    for size in (1, 4):
        trained = sorted(work.trained(jobs, Way(size)), key=lambda pair: pair[0].index)
        found.append(torch.stack([logits_of(network, pool.images, accelerator.device) for _, network in trained]))
    untrained = logits_of(create(work.record, jobs[0].recipe.seed), pool.images, accelerator.device)
    one, four = found
    assert min((one[0] - untrained).abs().max(), (one[0] - one[1]).abs().max()) > 0.2
    assert torch.allclose(one, four, atol=1e-5)


def test_an_interrupted_stack_goes_on_where_it_stopped(accelerator: Accelerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("securitynet.references.stacked.CHECKPOINT_SECONDS", -1.0)
    pool = Pool.of(splits(80))
    work, jobs = workshop(pool, accelerator)
    rows, recipes = torch.stack([job.rows for job in jobs]), [replace(job.recipe, epochs=4) for job in jobs]
    data = pool.images, torch.from_numpy(pool.labels), rows, recipes
    whole, broken = ([create(work.record, job.recipe.seed) for job in jobs] for _ in range(2))
    train_stacked(whole, *data)

    def stop(number: int) -> None:
        if number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stacked(broken, *data, checkpoint=tmp_path / "stack", after_epoch=stop)
    resumed, epochs = [create(work.record, job.recipe.seed) for job in jobs], []
    train_stacked(resumed, *data, checkpoint=tmp_path / "stack", after_epoch=epochs.append)
    assert epochs == [2, 3]
    for one, other in zip(whole, resumed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_networks_that_draw_at_random_are_not_stacked(accelerator: Accelerator) -> None:
    plain = blueprint("auto", None, (1, 8, 8), 10)
    assert stackable(create(plain, 0), (1, 8, 8))
    dropping = blueprint("timm:resnet10t", '{"channels":[4,4,4,4],"stem_width":4,"in_chans":1,"drop_rate":0.1}', (1, 8, 8), 10)
    assert not stackable(create(dropping, 0), (1, 8, 8))


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({Way(): 1.0, Way(1, 1): 0.95, Way(4): 0.95, Way(4, 1): 0.92}, Way()),
        ({Way(): 1.0, Way(1, 1): 0.5, Way(4): 0.6, Way(4, 1): 0.7}, Way(1, 1)),
        ({Way(): 1.0, Way(1, 1): 2.0, Way(4): 0.6, Way(4, 1): 0.5}, Way(4, 1)),
    ],
)
def test_another_way_is_chosen_only_where_it_is_clearly_faster(
    seconds: dict[Way, float], best: Way, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, jobs = workshop(Pool.of(splits()), accelerator)
    monkeypatch.setattr("securitynet.references.measure.MEASURING", 100.0)
    monkeypatch.setattr(Trial, "run", lambda self: self.times.append(seconds[self.way] * len(self.jobs) * self.jobs[0].steps))
    with on_threads(2):
        assert fastest(work, jobs) == best
    assert torch.get_num_threads() == 1


def test_nothing_is_measured_that_costs_more_than_it_could_save(accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    work, jobs = workshop(Pool.of(splits()), accelerator)
    ways: list[Way] = []
    plain = Trial.run

    def run(self: Trial) -> None:
        ways.append(self.way)
        plain(self)

    monkeypatch.setattr(Trial, "run", run)
    with on_threads(2):
        assert fastest(work, jobs) == Way() and set(ways) == {Way()}


def test_a_network_that_cannot_be_stacked_is_trained_alone(accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    work, jobs = workshop(Pool.of(splits()), accelerator)
    monkeypatch.setattr("securitynet.references.measure.MEASURING", 100.0)
    refused: list[int] = []

    def refuse(networks: list[nn.Module], *args: object, **named: object) -> None:
        refused.append(len(networks))
        raise RuntimeError("vmap: data-dependent control flow")

    monkeypatch.setattr("securitynet.references.fit.train_stacked", refuse)
    assert fastest(work, jobs) == Way() and set(refused) == {4}


def test_alone_is_all_that_training_asks_of_an_accelerator(accelerator: Accelerator) -> None:
    pool = Pool.of(splits(60))
    record = blueprint("auto", None, pool.input_size, pool.classes)
    one, other = create(record, 0), create(record, 0)
    for network, world in ((one, accelerator), (other, Alone(torch.device("cpu")))):
        train(network, pool.images, torch.from_numpy(pool.labels), QUICK, world)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


SCRIPT = """
import sys, numpy as np
from pathlib import Path
from accelerate import Accelerator
sys.path.insert(0, sys.argv[1])
import reference_case as here
from securitynet.cache import ArrayCache
from securitynet.references import reference_answers
accelerator = Accelerator()
assert accelerator.num_processes == 2
place = Path(sys.argv[2]) / f"process{accelerator.process_index}"
found = reference_answers(here.splits(), here.SETTINGS, accelerator, ArrayCache(place))
again = reference_answers(here.splits(), here.SETTINGS, accelerator, ArrayCache(place))
assert np.array_equal(found.logits, again.logits)
np.savez(place / "found.npz", logits=found.logits, held=found.held, trained=len(list(place.glob("*/*.safetensors"))))
"""


def test_two_processes_share_the_work_and_find_the_same(accelerator: Accelerator, tmp_path: Path) -> None:
    """Each has a disk of its own here, so that what the other has trained can only come by way of the exchange."""
    one = reference_answers(splits(), SETTINGS, accelerator, ArrayCache(None))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "yes", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [*command, str(Path(__file__).parent), str(tmp_path)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr[-3000:]
    for process in range(2):
        arrays = np.load(tmp_path / f"process{process}" / "found.npz")
        assert np.array_equal(arrays["held"], one.held)
        assert np.abs(arrays["logits"] - one.logits).max() < 1e-4
        assert arrays["trained"] == 4  # weights and answers of two models each
