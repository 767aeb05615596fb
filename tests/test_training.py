"""The training loop against plain PyTorch, closed forms, interruption, and two processes."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from scipy import stats
from scipy.special import softmax
from sklearn.metrics import log_loss
from torch import Tensor, nn

from securitynet.errors import DataError, TrainingError, UsageError
from securitynet.training import Epoch, History, Recipe, seeded, train
from securitynet.training.epochs import Run, batches, shifted, summed_loss

QUICK = Recipe(epochs=4, batch_size=16, learning_rate=0.05)


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def data(n: int = 75, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images [n, 1, 8, 8] whose brightness in one of four quarters gives the label."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (n,), generator=generator)
    images = torch.rand(n, 1, 8, 8, generator=generator) * 0.5
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, label // 2 * 4 :][:4, label % 2 * 4 :][:, :4] += 0.3
    return images, labels


def network(seed: int = 0) -> nn.Module:
    """Batch norm, dropout and a linear head: everything that could make a run unrepeatable."""
    with seeded(seed):
        body = [nn.Conv2d(1, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(54, 4)]
        return nn.Sequential(*body)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_one_linear_layer_goes_the_way_of_a_plain_loop(accelerator: Accelerator) -> None:
    images, labels = data(48)
    recipe = Recipe(epochs=6, batch_size=48, learning_rate=0.2, momentum=0.8, weight_decay=0.01, warm_up=0.5)
    ours, plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    plain.load_state_dict(ours.state_dict())
    history = train(ours, images, labels, recipe, accelerator)
    optimiser = torch.optim.SGD(plain.parameters(), lr=1.0, momentum=0.8, weight_decay=0.01)
    losses = []
    for rate in (0.05, 0.1, 0.15, 0.2, 0.15, 0.05):  # three steps up, then 0.2 * (1 + cos(pi * k / 3)) / 2
        optimiser.param_groups[0]["lr"] = rate
        loss = nn.functional.cross_entropy(plain(images), labels)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose([epoch.loss for epoch in history.epochs], losses, rtol=1e-5)


def test_gradients_are_clipped_by_their_norm(accelerator: Accelerator) -> None:
    """One full batch, no momentum: the weights move by the learning rate times the norm allowed, or by less where it is less."""
    images, labels = data(48)
    recipe = Recipe(epochs=1, batch_size=48, learning_rate=0.5, momentum=0.0, weight_decay=0.0, warm_up=0.0)
    for clip in (0.01, 1000.0):
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
        before = torch.cat([one.detach().clone().flatten() for one in net.parameters()])
        loss = nn.functional.cross_entropy(net(images), labels)
        norm = torch.cat([one.flatten() for one in torch.autograd.grad(loss, list(net.parameters()))]).norm()
        train(net, images, labels, replace(recipe, clip=clip), accelerator)
        moved = torch.cat([one.detach().flatten() for one in net.parameters()]) - before
        assert moved.norm().item() == pytest.approx(0.5 * min(clip, norm.item()), rel=1e-3)


def test_schedule() -> None:
    recipe = Recipe(learning_rate=1.0, warm_up=0.2)
    rates = [recipe.rate(step, 100) for step in range(100)]
    np.testing.assert_allclose(rates[:20], np.arange(1, 21) / 21)
    assert rates[20] == 1.0 and max(rates) == 1.0
    assert rates[60] == pytest.approx(0.5)
    assert rates[99] == pytest.approx((1 + math.cos(math.pi * 79 / 80)) / 2)
    assert all(earlier > later for earlier, later in itertools.pairwise(rates[20:]))
    assert Recipe(learning_rate=1.0, warm_up=1.0).rate(9, 10) == pytest.approx(10 / 11)


@pytest.mark.parametrize(
    ("count", "size", "processes"), [(65, 64, 1), (64, 64, 1), (10, 3, 1), (67, 64, 2), (5, 64, 1), (9, 1, 1), (13, 4, 3)]
)
def test_batches_hold_every_image_once_and_two_per_process(count: int, size: int, processes: int) -> None:
    order = torch.randperm(count)
    parts = batches(order, size, processes)
    assert torch.equal(torch.cat(parts), order)
    assert min(len(part) for part in parts) >= 2 * processes
    assert max(len(part) for part in parts) < max(size, 2 * processes) + 2 * processes


def test_a_last_image_on_its_own_does_not_reach_batch_norm_alone(accelerator: Accelerator) -> None:
    images, labels = data(33)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    history = train(flat, images, labels, replace(QUICK, epochs=2), accelerator)
    assert len(history.epochs) == 2 and all(math.isfinite(epoch.loss) for epoch in history.epochs)


def test_shift_moves_pixels_and_fills_with_zeros() -> None:
    image = np.arange(1, 26, dtype=np.float32).reshape(5, 5)
    moves = np.array([[0, 0], [2, 0], [-1, 2], [-2, -2]])
    moved = shifted(torch.from_numpy(np.stack([image] * 4))[:, None], torch.from_numpy(moves), 2)[:, 0].numpy()
    for (down, right), result in zip(moves.tolist(), moved, strict=True):
        wanted = np.zeros_like(image)
        wanted[max(down, 0) : 5 + min(down, 0), max(right, 0) : 5 + min(right, 0)] = image[
            max(-down, 0) : 5 - max(down, 0), max(-right, 0) : 5 - max(right, 0)
        ]
        np.testing.assert_array_equal(result, wanted)


def test_losses_are_what_they_are_called() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(20, 5)).astype(np.float32), rng.integers(0, 5, 20)
    probabilities = softmax(rng.normal(size=(20, 5)) * 2, axis=1).astype(np.float32)
    z, p = torch.from_numpy(logits), torch.from_numpy(probabilities)
    cross_entropy = log_loss(labels, softmax(logits.astype(np.float64), axis=1), labels=range(5)) * 20
    assert summed_loss(z, torch.from_numpy(labels)).item() == pytest.approx(cross_entropy, rel=1e-5)
    divergence = stats.entropy(probabilities.T, softmax(logits, axis=1).T).sum()
    assert summed_loss(z, p).item() == pytest.approx(divergence, rel=1e-4)
    soft = softmax(np.log(probabilities) / 4, axis=1)
    at_four = 16 * stats.entropy(soft.T, softmax(logits / 4, axis=1).T).sum()
    assert summed_loss(z, p, temperature=4.0).item() == pytest.approx(at_four, rel=1e-4)
    one_hot = nn.functional.one_hot(torch.from_numpy(labels), 5).float()
    assert summed_loss(z, one_hot).item() == pytest.approx(cross_entropy, rel=1e-5)


@pytest.mark.parametrize("recipe", [QUICK, replace(QUICK, optimiser="adamw", learning_rate=0.01, shift=1, flip=True, label_smoothing=0.1)])
def test_the_seed_decides_everything(recipe: Recipe, accelerator: Accelerator) -> None:
    images, labels = data()
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second, other = network(), network(), network()
    history = train(first, images, labels, recipe, accelerator)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    again = train(second, images, labels, recipe, accelerator)
    train(other, images, labels, replace(recipe, seed=1), accelerator)
    assert same(first, second) and not same(first, other)
    assert [epoch.loss for epoch in history.epochs] == [epoch.loss for epoch in again.epochs]
    assert not first.training and all(parameter.grad is None for parameter in first.parameters())


def test_it_learns_and_reports_what_it_learnt(accelerator: Accelerator) -> None:
    images, labels = data(200)
    unseen = data(100, seed=1)
    net = network()
    history = train(net, images, labels, Recipe(epochs=15, batch_size=32, learning_rate=0.1), accelerator, validation=unseen)
    assert len(history.epochs) == 15 and history.kept == 14 and history.seconds > 0
    with torch.inference_mode():
        logits = net(unseen[0])
    last = history.epochs[-1]
    assert last.accuracy > 0.9
    assert last.validation_accuracy == pytest.approx((logits.argmax(1) == unseen[1]).double().mean().item())
    assert last.validation_loss == pytest.approx(nn.functional.cross_entropy(logits, unseen[1]).item(), rel=1e-5)


def test_bytes_and_floats_train_alike(accelerator: Accelerator) -> None:
    images, labels = data()
    raw = (images * 255).round().byte()
    first, second = network(), network()
    train(first, raw, labels, QUICK, accelerator)
    train(second, raw.float() / 255, labels, QUICK, accelerator)
    assert same(first, second)


def test_soft_targets_bring_the_student_to_the_teacher(accelerator: Accelerator) -> None:
    images, labels = data(150)
    teacher = network(1)
    train(teacher, images, labels, replace(QUICK, epochs=10), accelerator)
    queries = data(150, seed=3)[0]
    with torch.inference_mode():
        answers = teacher(queries).softmax(1)
    student = network(2).eval()

    def divergence() -> float:
        with torch.inference_mode():
            return float(stats.entropy(answers.numpy().T, student(queries).softmax(1).numpy().T).mean())

    before = divergence()
    history = train(student, queries, answers.clone(), replace(QUICK, epochs=15, temperature=2.0), accelerator)
    assert divergence() < 0.25 * before
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert history.epochs[-1].accuracy > 0.8  # agreement with the teacher


def test_patience_stops_and_keeps_the_best(accelerator: Accelerator) -> None:
    generator = torch.Generator().manual_seed(0)
    images, labels = data(60)
    labels = labels[torch.randperm(60, generator=generator)]  # nothing to learn: validation gets worse while it memorises
    unseen = data(60, seed=1)
    net = network()
    recipe = Recipe(epochs=60, batch_size=16, learning_rate=0.1, patience=3)
    history = train(net, images, labels, recipe, accelerator, validation=unseen)
    losses = [epoch.validation_loss for epoch in history.epochs]
    assert len(losses) < 60 and history.kept == int(np.argmin(losses)) == len(losses) - 4
    with torch.inference_mode():
        assert nn.functional.cross_entropy(net(unseen[0]), unseen[1]).item() == pytest.approx(losses[history.kept], rel=1e-5)


class Killed(Exception):
    """Stands for the end of the process."""


def interrupted(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next run die in its epoch number `after`."""
    epoch = Run.epoch

    def dying(self: Run, number: int, held_out: object = None) -> Epoch:
        if number == after:
            epoch(self, number, held_out)  # type: ignore[arg-type]  # the weights have moved on, the checkpoint has not
            raise Killed
        return epoch(self, number, held_out)  # type: ignore[arg-type]

    monkeypatch.setattr(Run, "epoch", dying)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("patience", [None, 2])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    optimiser: str, patience: int | None, accelerator: Accelerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = data()
    unseen = data(30, seed=1)
    rest = {"shift": 1, "patience": patience, "channels_last": patience is None}
    recipe = Recipe(epochs=6, batch_size=16, optimiser=optimiser, learning_rate=0.02, **rest)  # type: ignore[arg-type]
    whole, parts, file = network(), network(), tmp_path / "run" / "checkpoint.safetensors"
    expected = train(whole, images, labels, recipe, accelerator, validation=unseen)
    with monkeypatch.context() as patch:
        interrupted(3, patch)
        with pytest.raises(Killed):
            train(parts, images, labels, recipe, accelerator, validation=unseen, checkpoint=file)
    assert not same(whole, parts)
    resumed, asked = network(), []
    monkeypatch.setattr(Run, "epoch", _counting(Run.epoch, asked))
    history = train(resumed, images, labels, recipe, accelerator, validation=unseen, checkpoint=file)
    assert asked == list(range(3, len(expected.epochs)))
    assert same(whole, resumed) and history.kept == expected.kept
    assert [replace(epoch, seconds=0) for epoch in history.epochs] == [replace(epoch, seconds=0) for epoch in expected.epochs]
    asked.clear()
    finished = network()
    train(finished, images, labels, recipe, accelerator, validation=unseen, checkpoint=file)
    assert asked == [] and same(whole, finished)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def _counting(epoch: object, asked: list[int]) -> object:
    def counted(self: Run, number: int, held_out: object = None) -> Epoch:
        asked.append(number)
        return epoch(self, number, held_out)  # type: ignore[operator, no-any-return]

    return counted


def test_a_checkpoint_serves_its_own_run_only(accelerator: Accelerator, tmp_path: Path) -> None:
    images, labels = data()
    file = tmp_path / "checkpoint.safetensors"
    train(network(), images, labels, QUICK, accelerator, checkpoint=file)
    for other in (
        lambda: (network(), labels.roll(1), QUICK),
        lambda: (network(1), labels, QUICK),
        lambda: (network(), labels, replace(QUICK, seed=1)),
    ):
        net, targets, recipe = other()
        with pytest.raises(UsageError, match="checkpoint of another run"):
            train(net, images, targets, recipe, accelerator, checkpoint=file)
    whole, again = network(), network()
    train(whole, images, labels, QUICK, accelerator)
    file.write_bytes(file.read_bytes()[:1000])
    train(again, images, labels, QUICK, accelerator, checkpoint=file)
    assert same(whole, again)


def test_channels_last_changes_the_layout_while_training_and_nothing_else(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = data()
    plain, lying, seen = network(), network(), []
    step = Run._step

    def watched(self: Run, rows: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(self.network[0].weight.is_contiguous(memory_format=torch.channels_last))  # type: ignore[index]
        return step(self, rows, generator)

    train(plain, images, labels, QUICK, accelerator)
    monkeypatch.setattr(Run, "_step", watched)
    train(lying, images, labels, replace(QUICK, channels_last=True), accelerator)
    assert seen and all(seen) and all(weight.is_contiguous() for weight in lying.state_dict().values())
    for a, b in zip(plain.state_dict().values(), lying.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_trained_is_said_in_words(accelerator: Accelerator) -> None:
    images, labels = data(20)
    with pytest.raises(TrainingError, match=r"diverged in epoch 1 .*learning_rate"):
        train(network(), images * float("nan"), labels, QUICK, accelerator)
    with pytest.raises(DataError, match="do not fit"):
        train(network(), images, labels[:-1], QUICK, accelerator)
    with pytest.raises(DataError, match="too few"):
        train(network(), images[:1], labels[:1], QUICK, accelerator)
    with pytest.raises(UsageError, match="patience needs validation"):
        train(network(), images, labels, replace(QUICK, patience=1), accelerator)
    with pytest.raises(UsageError, match="shift and flip"):
        train(network(), images[:, :, None], labels, replace(QUICK, shift=1), accelerator)


@pytest.mark.parametrize("wrong", [{"optimiser": "lion"}, {"epochs": 0}, {"label_smoothing": 1.0}, {"warm_up": -0.1}, {"temperature": 0.0}])
def test_a_recipe_is_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="recipe"):
        Recipe(**wrong)  # type: ignore[arg-type]


def test_history_keeps_the_last_epoch_without_patience() -> None:
    history = History().add(Epoch(1.0, 0.5, 1.0, 0.3)).add(Epoch(0.5, 0.6, 2.0, 0.9))
    assert (history.kept, history.seconds) == (1, 3.0)
    assert History((Epoch(1.0, 0.5, 1.0, 0.3),), 0).add(Epoch(0.5, 0.6, 1.0, 0.9), patience=1).kept == 0


SCRIPT = """
import json, sys
from pathlib import Path
import torch
from accelerate import Accelerator
from torch import nn
from securitynet.training import Recipe, seeded, train

torch.set_num_threads(1)
folder, accelerator = Path(sys.argv[1]), Accelerator()
generator = torch.Generator().manual_seed(0)
images, labels = torch.rand(75, 1, 8, 8, generator=generator), torch.randint(0, 4, (75,), generator=generator)
recipe = Recipe(epochs=3, batch_size=16, learning_rate=0.05, shift=1, flip=True)
report = {"processes": accelerator.num_processes}
with seeded(0):
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4))
    normed = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, 4))
halves = [{k: v.clone() for k, v in net.state_dict().items()} for net in (plain, normed)]
history = train(plain, images, labels, recipe, accelerator, validation=(images[:33], labels[:33]), checkpoint=folder / "c")
report["losses"] = [[e.loss, e.accuracy, e.validation_loss, e.validation_accuracy] for e in history.epochs]
report["plain"] = [p.flatten().tolist() for p in plain.parameters()]
train(normed, images, labels, recipe, accelerator)
state = torch.cat([tensor.double().flatten() for tensor in normed.state_dict().values()])
everywhere = accelerator.gather(state[None])
report["spread"] = (everywhere - everywhere[0]).abs().max().item()
report["moved"] = (halves[1]["2.running_mean"] - normed.state_dict()["2.running_mean"]).abs().max().item()
plain.load_state_dict(halves[0])
train(plain, images, labels, recipe, accelerator, validation=(images[:33], labels[:33]), checkpoint=folder / "c")
report["resumed"] = [p.flatten().tolist() for p in plain.parameters()]
if accelerator.is_main_process:
    (folder / "report.json").write_text(json.dumps(report))
accelerator.end_training()
"""


def reported(folder: Path, processes: int) -> dict[str, object]:
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT)
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "yes", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*start, str(folder / "script.py"), str(folder)], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report: dict[str, object] = json.loads((folder / "report.json").read_text())
    return report


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    one, two = reported(tmp_path / "one", 1), reported(tmp_path / "two", 2)
    assert (one["processes"], two["processes"]) == (1, 2)
    np.testing.assert_allclose(np.array(two["losses"]), np.array(one["losses"]), rtol=1e-5)
    for a, b in zip(one["plain"], two["plain"], strict=True):  # type: ignore[call-overload]
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)
    assert two["spread"] == 0.0 and two["moved"] > 0.01  # type: ignore[operator]
    assert two["resumed"] == two["plain"] and one["resumed"] == one["plain"]
