"""Reference models: halves, cache, interruption, stacks, processes."""

from __future__ import annotations

import json
import logging
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
from torch import nn

from securitynet.attacks.membership.changed import Shifted
from securitynet.attacks.membership.scores import log_likelihood
from securitynet.cache import ArrayCache
from securitynet.data import ArrayImages, ImageSet, Splits, draw
from securitynet.data.digits import digits
from securitynet.data.transform import Transform
from securitynet.errors import Skipped, TrainingError, UsageError
from securitynet.references import References, Settings, reference_answers
from securitynet.references.fit import Alone, Job, Workshop, groups
from securitynet.references.maker import Maker
from securitynet.references.measure import Trial, Way, fastest, on_threads
from securitynet.references.networks import answers, blueprint, create, stackable
from securitynet.references.pool import Pool, halves
from securitynet.references.stacked import train_stacked
from securitynet.target import Outputs
from securitynet.training import Recipe, train

QUICK = Recipe(epochs=3, batch_size=16, optimiser="sgd", learning_rate=0.1, weight_decay=1e-3, shift=1, flip=True)
SETTINGS = Settings(count=4, recipe=QUICK)
RAW = Transform((1, 8, 8))


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def splits(n: int = 200, members_seed: int = 0) -> Splits:
    """n digits of 8 x 8 pixels, half of them members."""
    pixels, labels = digits()
    images = ArrayImages(pixels[:n], labels[:n])
    members = np.sort(np.random.default_rng(members_seed).permutation(n)[: n // 2])
    return draw(ImageSet("digits", images, images, membership="index-file", members=members), RAW, 10, samples=None)


def workshop(pool: Pool, accelerator: Accelerator, folder: Path | None = None) -> tuple[Workshop, list[Job]]:
    """The workshop and the jobs of SETTINGS on this pool."""
    maker = Maker(pool, SETTINGS, accelerator, ArrayCache(None))
    held = halves(len(pool), SETTINGS.count, SETTINGS.seed)
    record = blueprint("auto", None, pool.input_size, pool.classes)
    return Workshop(record, pool, accelerator, folder), [maker.job(index, held[:, index]) for index in range(SETTINGS.count)]


@pytest.mark.parametrize("n", [40, 41])
def test_each_pair_of_models_holds_each_sample_once(n: int) -> None:
    held = halves(n, 6, seed=3)
    assert held.shape == (n, 6) and (held.reshape(n, 3, 2).sum(axis=2) == 1).all()
    assert (held.sum(axis=0) - n // 2).max() <= n % 2
    assert not np.array_equal(held[:, 0], held[:, 2]) and not np.array_equal(held, halves(n, 6, seed=4))
    for fewer in range(1, 6):
        assert np.array_equal(held[:, :fewer], halves(n, fewer, seed=3))


def test_halves_are_nobody_elses() -> None:
    """Members drawn with an equal seed, as those of the built-in models are, must not be the half of a reference model."""
    held = halves(1000, 8, seed=0)
    for entropy in (0, [0, 0], 1, [0, 1], [1, 0]):
        drawn = np.zeros(1000, bool)
        drawn[np.random.default_rng(entropy).permutation(1000)[:500]] = True
        assert (np.abs((held & drawn[:, None]).sum(axis=0) - 250) < 50).all()


def test_models_are_trained_once_and_serve_every_count(accelerator: Accelerator, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "securitynet")
    four = reference_answers(splits(), SETTINGS, accelerator, ArrayCache(tmp_path))
    assert four.logits.shape == (4, 200, 10) and four.logits.dtype == np.float32
    assert [record.message for record in caplog.records if "training 4 reference models" in record.message]
    caplog.clear()
    again = reference_answers(splits(), SETTINGS, accelerator, ArrayCache(tmp_path))
    two = reference_answers(splits(), replace(SETTINGS, count=2), accelerator, ArrayCache(tmp_path))
    assert not caplog.records
    assert np.array_equal(again.logits, four.logits) and np.array_equal(again.held, four.held)
    assert np.array_equal(two.logits, four.logits[:2]) and np.array_equal(two.held, four.held[:, :2])
    six = reference_answers(splits(), replace(SETTINGS, count=6), accelerator, ArrayCache(tmp_path))
    assert "training 2 reference models" in caplog.text and np.array_equal(six.logits[:4], four.logits)


def test_models_know_what_they_hold(accelerator: Accelerator) -> None:
    """The mask says the truth about the training sets, in the order of members, then non-members."""
    case = splits()
    settings = Settings(count=2, recipe=Recipe(epochs=20, batch_size=16, optimiser="adamw", learning_rate=0.01, weight_decay=0.0))
    found = reference_answers(case, settings, accelerator, ArrayCache(None))
    assert case.members is not None and case.non_members is not None
    assert np.array_equal(found.labels, np.concatenate([case.members.labels, case.non_members.labels]))
    likelihood = found.statistic(log_likelihood)
    assert likelihood.shape == (200, 2)
    assert likelihood[:, 1] == pytest.approx(log_likelihood(Outputs(found.logits[1], found.labels)))
    assert (likelihood[found.held].mean() - likelihood[~found.held].mean()) > 0.3


def test_who_is_a_member_decides_nothing(accelerator: Accelerator, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another model of the same images has the same references, in its own order of members and non-members."""
    first = reference_answers(splits(), SETTINGS, accelerator, ArrayCache(tmp_path))
    caplog.set_level(logging.INFO, "securitynet")
    second = reference_answers(splits(members_seed=1), SETTINGS, accelerator, ArrayCache(tmp_path))
    assert not caplog.records
    sorted_first, sorted_second = (np.argsort(Pool.of(splits(members_seed=seed)).origin[1]) for seed in (0, 1))
    assert not np.array_equal(sorted_first, sorted_second)
    assert np.array_equal(first.logits[:, sorted_first], second.logits[:, sorted_second])
    assert np.array_equal(first.held[sorted_first], second.held[sorted_second])
    assert np.array_equal(first.labels[sorted_first], second.labels[sorted_second])


def test_whatever_decides_the_answers_is_in_the_key(accelerator: Accelerator) -> None:
    case = splits()
    assert case.members is not None
    pool = Pool.of(case)

    def key(pool: Pool = pool, settings: Settings = SETTINGS, index: int = 0) -> str:
        held = halves(len(pool), index + 1, settings.seed)[:, index]
        return Maker(pool, settings, accelerator, ArrayCache(None)).job(index, held).key

    relabelled = replace(case, members=replace(case.members, labels=(case.members.labels + 1) % 10))
    keys = {
        key(),
        key(index=1),
        key(Pool.of(splits(198))),
        key(Pool.of(relabelled)),
        key(settings=replace(SETTINGS, seed=1)),
        key(settings=replace(SETTINGS, architecture="timm:resnet10t")),
        key(settings=replace(SETTINGS, recipe=replace(QUICK, epochs=4))),
    }
    assert len(keys) == 7
    assert key(settings=replace(SETTINGS, count=64)) == key()


def test_an_interrupted_call_goes_on_with_the_next_model(accelerator: Accelerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reference_answers(splits(), SETTINGS, accelerator, ArrayCache(None))
    fitted: list[int] = []
    plain = Workshop.fit

    def fit(self: Workshop, group: list[Job], *args: object, **named: object) -> list[nn.Module]:
        if len(fitted) == 3:
            fitted.append(-1)
            raise KeyboardInterrupt
        fitted.append(group[0].index)
        return plain(self, group, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Workshop, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        reference_answers(splits(), SETTINGS, accelerator, ArrayCache(tmp_path))
    resumed = reference_answers(splits(), SETTINGS, accelerator, ArrayCache(tmp_path))
    assert fitted == [0, 1, 2, -1, 3] and np.array_equal(resumed.logits, whole.logits)
    assert not list((tmp_path / "training").glob("*"))


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
        found.append(torch.stack([answers(network, pool.images, accelerator.device) for _, network in trained]))
    untrained = answers(create(work.record, jobs[0].recipe.seed), pool.images, accelerator.device)
    one, four = found
    assert min((one[0] - untrained).abs().max(), (one[0] - one[1]).abs().max()) > 0.5
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


def test_answers_about_changed_images_come_from_the_stored_models(
    accelerator: Accelerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, settings = splits(), replace(SETTINGS, count=2)
    plain = reference_answers(case, settings, accelerator, ArrayCache(tmp_path))

    def never(self: Workshop, *args: object, **named: object) -> list[nn.Module]:
        raise AssertionError("trained again")

    monkeypatch.setattr(Workshop, "fit", never)
    flipped = reference_answers(case, settings, accelerator, ArrayCache(tmp_path), lambda module: Shifted(module, flip=True))
    still = reference_answers(case, settings, accelerator, ArrayCache(tmp_path), lambda module: Shifted(module))
    assert np.abs(flipped.logits - plain.logits).max() > 0.01
    assert np.array_equal(still.logits, plain.logits)


@pytest.mark.parametrize("missing", ["members", "volumes", "few"])
def test_splits_that_cannot_serve_are_skipped_with_the_reason(missing: str, accelerator: Accelerator) -> None:
    case, reason = splits(), "training and test images"
    if missing == "members":
        case = replace(case, members=None, missing="no training images at hand")
    elif missing == "volumes":
        volumes = ArrayImages(np.zeros((20, 4, 4, 4), np.uint8), np.zeros(20))
        case = draw(ImageSet("volumes", volumes, volumes), Transform((1, 4, 4, 4)), 2)
        reason = r"images \[c, h, w\]"
    else:
        case, reason = splits(6), "at least eight images"
    with pytest.raises(Skipped, match=reason):
        reference_answers(case, SETTINGS, accelerator, ArrayCache(None))


def test_bad_settings_are_refused(accelerator: Accelerator) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        Settings(count=0)
    with pytest.raises(UsageError, match="patience"):
        Settings(recipe=Recipe(patience=3))
    for name in ("resnet10t", "timm:resnet10x", "elsewhere:net"):
        with pytest.raises(UsageError, match=r"reference models: .*architecture"):
            reference_answers(splits(), Settings(architecture=name), accelerator, ArrayCache(None))


def test_a_diverged_model_is_an_error(accelerator: Accelerator) -> None:
    wild = replace(SETTINGS, recipe=Recipe(epochs=3, optimiser="sgd", learning_rate=1e30))
    with pytest.raises(TrainingError, match="diverged"):
        reference_answers(splits(), wild, accelerator, ArrayCache(None))
    pool = Pool.of(splits())
    work, jobs = workshop(pool, accelerator)
    wild_jobs = [replace(job, recipe=replace(wild.recipe, seed=job.index)) for job in jobs]
    with pytest.raises(TrainingError, match="diverged"):
        work.fit(wild_jobs)


def test_large_images_get_a_larger_network() -> None:
    small, large = blueprint("auto", None, (3, 32, 32), 10), blueprint("auto", None, (3, 224, 224), 10)
    assert small.architecture == large.architecture == "timm:resnet10t" and small.arguments["in_chans"] == 3
    sizes = [sum(parameter.numel() for parameter in create(record, 0).parameters()) for record in (small, large)]
    assert sizes[0] < 100_000 < 1_000_000 < sizes[1]


SCRIPT = """
import sys, numpy as np
from pathlib import Path
from accelerate import Accelerator
sys.path.insert(0, sys.argv[1])
import test_references as here
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


def test_references_are_json_in_the_parameters() -> None:
    from securitynet.attack import params_of
    from securitynet.attacks.membership.lira import Lira

    assert json.loads(params_of(Lira(SETTINGS)))["references"]["recipe"]["epochs"] == 3
    assert json.loads(params_of(Lira(8)))["references"] == 8


def test_the_statistic_is_of_every_model() -> None:
    logits = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    found = References(logits, np.zeros((3, 2), bool), np.array([0, 1, 0]))
    assert found.statistic(lambda outputs: outputs.logits[:, 0]).tolist() == [[0, 6], [2, 8], [4, 10]]
