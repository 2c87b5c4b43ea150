"""The half of torch_pruning.py that runs in an environment with PyTorch, started by it: prunes and trains in a FOLDER.

    PYTHON -I benchmarks/torch_half.py FOLDER

`-I` keeps this folder out of the path: torch_pruning.py beside this file has the library's name. FOLDER holds
`asked.json` (what to do), and the folder above it the images, `given-NET.npz`. FOLDER gets `pruned.npz` and `tuned.npz`
(weights before and after the training), `answers.npy` (to some test images) and `half.json` (what was measured). It
imports nothing of resdense.
"""

import argparse
import importlib.metadata
import json
import math
import platform
from pathlib import Path

import numpy as np

CLOSE = 1e-4  # between the probabilities of Keras and of PyTorch
STEPS = 400  # of pruning, of which so many are taken as reach the speed-up
SHIFT = 4  # pixels
SCORED, AT_ONCE = 2000, 500  # images whose gradient ranks channels; images of one pass without training


def resnet(blocks):
    """A ResNet for CIFAR with `blocks` a stage (3: ResNet-20) and the names of its checkpoint.

    It takes (N, 3, 32, 32) normalised pixels and gives (N, 10) logits.

    Where a stage begins, the checkpoint's shortcut takes every second pixel and adds zero channels (option A). Torch-
    Pruning 1.6.1 takes that padding for one that moves no channel: 3 is tied to 3 behind it, and not to 11. Its own
    CIFAR ResNets have a 1x1 convolution there, so this net has one too, whose weights are zeros and ones and compute
    the same. Theirs has a batch norm behind it; this one has none.
    """
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before, width):
            super().__init__()
            stride = 1 if before == width else 2
            self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.relu = nn.ReLU()
            change = nn.Conv2d(before, width, 1, 2, bias=False) if stride == 2 else nn.Identity()
            self.downsample = nn.Sequential(change)

        def forward(self, x):
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(y + self.downsample(x))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
            self.relu, self.pool = nn.ReLU(), nn.AdaptiveAvgPool2d(1)
            for stage, (before, width) in enumerate(((16, 16), (16, 32), (32, 64)), start=1):
                own = [Block(before if index == 0 else width, width) for index in range(blocks)]
                setattr(self, f"layer{stage}", nn.Sequential(*own))
            self.linear = nn.Linear(64, 10)

        def forward(self, x):
            x = self.relu(self.bn1(self.conv1(x)))
            return self.linear(self.pool(self.layer3(self.layer2(self.layer1(x)))).flatten(1))

    return Net()


def trained(asked):
    """The whole net with the checkpoint's weights, for evaluation."""
    import torch

    net = resnet(asked["blocks"])
    weights = {name: torch.from_numpy(array) for name, array in np.load(asked["checkpoint"]).items()}
    for layer in (net.layer2, net.layer3):
        conv = layer[0].downsample[0]
        wide, narrow = conv.weight.shape[:2]
        kernel = torch.zeros_like(conv.weight)
        kernel[(wide - narrow) // 2 + torch.arange(narrow), torch.arange(narrow)] = 1
        conv.weight.data.copy_(kernel)
    missing, unexpected = net.load_state_dict(weights, strict=False)
    left = [name for name in missing if "downsample" not in name and "num_batches_tracked" not in name]
    assert not left and not unexpected, (left, unexpected)
    return net.eval()


class Images:
    """The images of given-NET.npz, and their pixels as the net takes them."""

    def __init__(self, given):
        self.mean, self.std = given["mean"].astype("float32"), given["std"].astype("float32")
        self.splits = {
            name: (given[f"{name}_images"], given[f"{name}_labels"]) for name in ("train", "validation", "test")
        }

    def pixels(self, images):
        """(N, 32, 32, 3) uint8 -> (N, 3, 32, 32) float32 tensor."""
        import torch

        return torch.from_numpy((images.astype("float32") - self.mean) / self.std).permute(0, 3, 1, 2).contiguous()

    def probabilities(self, net, images):
        """(N, 10) NumPy array of a net's answers to uint8 images."""
        import torch

        net.eval()
        with torch.no_grad():
            parts = (images[at : at + AT_ONCE] for at in range(0, len(images), AT_ONCE))
            return np.concatenate([net(self.pixels(part)).softmax(1).numpy() for part in parts])

    def accuracy(self, net, split):
        images, labels = self.splits[split]
        return float((self.probabilities(net, images).argmax(1) == labels).mean())

    def batches(self, size, random):
        """One epoch of whole batches: shuffled, shifted by up to 4 pixels with black at the gap, half of them
        mirrored."""
        import torch

        images, labels = self.splits["train"]
        order = random.permutation(len(images))
        for at in range(0, len(order) - size + 1, size):
            chosen = order[at : at + size]
            padded = np.pad(images[chosen], ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
            down, right = random.integers(0, 2 * SHIFT + 1, (2, size, 1))
            rows, columns = down + np.arange(32), right + np.arange(32)
            columns = np.where(random.random((size, 1)) < 0.5, columns, columns[:, ::-1])
            cut = padded[np.arange(size)[:, None, None], rows[:, :, None], columns[:, None, :]]
            yield self.pixels(cut), torch.from_numpy(labels[chosen])


def prune(net, images, asked):
    """Removes channels from `net` until the library counts `speed_up` times fewer operations; [before, after]."""
    import torch
    import torch_pruning

    example = torch.zeros(1, 3, 32, 32)
    if asked["importance"] == "taylor":
        importance = torch_pruning.importance.GroupTaylorImportance()
        pixels, labels = images.splits["train"]
        chosen = np.random.default_rng(asked["seed"]).permutation(len(labels))[:SCORED]
        for part in np.split(chosen, SCORED // AT_ONCE):
            loss = torch.nn.functional.cross_entropy(net(images.pixels(pixels[part])), torch.from_numpy(labels[part]))
            loss.backward()
    else:
        importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    pruner = torch_pruning.pruner.GroupNormPruner(
        net,
        example,
        importance=importance,
        global_pruning=True,
        iterative_steps=STEPS,
        pruning_ratio=1.0,
        ignored_layers=[net.linear],
        round_to=asked["round_to"],
    )
    counted = [torch_pruning.utils.count_ops_and_params(net, example)[0]]
    while len(counted) < 2 or counted[0] / counted[-1] < asked["speed_up"]:
        assert pruner.current_step < STEPS, "the speed-up cannot be reached"
        pruner.step()
        counted = [counted[0], torch_pruning.utils.count_ops_and_params(net, example)[0]]
    net.zero_grad(set_to_none=True)
    return counted


def train(net, images, asked):
    """Trains by the recipe of asked.json; the weights that are best on held-out images stay.

    Returns [{"epoch", "loss", "held_out"}], epoch 0 before any step.
    """
    import torch
    from torch.nn import functional

    recipe = asked["recipe"]
    teacher = trained(asked) if recipe["teacher"] else None
    total = recipe["epochs"] * (len(images.splits["train"][1]) // recipe["batch_size"])
    total = min(total, asked["steps"] or total)
    decayed, others = [], []
    for weight in net.parameters():
        (decayed if recipe["decay"] == "all" or weight.dim() > 1 else others).append(weight)
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": recipe["weight_decay"]}, {"params": others, "weight_decay": 0.0}],
        lr=recipe["learning_rate"],
        momentum=recipe["momentum"],
        nesterov=recipe["nesterov"],
    )
    random, step = np.random.default_rng(asked["seed"]), 0
    best = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    history = [{"epoch": 0, "loss": None, "held_out": images.accuracy(net, "validation")}]
    while step < total:
        net.train()
        losses = []
        for pixels, labels in images.batches(recipe["batch_size"], random):
            for group in optimizer.param_groups:
                group["lr"] = rate(recipe, step, total)
            answers = net(pixels)
            loss = functional.cross_entropy(answers, labels)
            if teacher is not None:
                with torch.no_grad():
                    taught = teacher(pixels)
                heat, share = recipe["temperature"], recipe["teacher"]
                soft = functional.cross_entropy(answers / heat, (taught / heat).softmax(1))
                loss = (1 - share) * loss + share * heat**2 * soft
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            step += 1
            if step == total:
                break
        found = images.accuracy(net, "validation")
        if found > max(record["held_out"] for record in history):
            best = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        history.append({"epoch": len(history), "loss": float(np.mean(losses)), "held_out": found})
        print(history[-1], flush=True)
    last = images.accuracy(net, "test")
    net.load_state_dict(best)
    return history, last


def rate(recipe, step, total):
    """The learning rate of a step, as resdense's schedules give it."""
    warm = round(recipe["warmup"] * total)
    if step < warm:
        return recipe["learning_rate"] * (step + 1) / warm
    if recipe["schedule"] == "cosine":
        return recipe["learning_rate"] * 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))
    return recipe["learning_rate"] * 0.1 ** sum(step / total >= drop for drop in recipe["drops_at"])


def save(net, path):
    weights = {name: tensor.numpy() for name, tensor in net.state_dict().items() if tensor.dim()}
    np.savez(path, **weights)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    asked = json.loads((folder / "asked.json").read_text())
    import torch

    torch.set_num_threads(asked["threads"])
    torch.manual_seed(asked["seed"])
    with np.load(asked["given"]) as given:
        images, answers = Images(given), given["answers"]
    net = trained(asked)
    own = images.probabilities(net, images.splits["test"][0][: len(answers)])
    assert np.abs(own - answers).max() < CLOSE, np.abs(own - answers).max()
    found = {"distance": float(np.abs(own - answers).max()), "accuracy": {"whole": images.accuracy(net, "test")}}
    found["operations"] = prune(net, images, asked)
    found["widths"] = {name: len(weight) for name, weight in net.named_parameters() if weight.dim() == 4}
    found["accuracy"]["pruned"] = images.accuracy(net, "test")
    save(net, folder / "pruned.npz")
    print({key: found[key] for key in ("distance", "accuracy", "operations", "widths")}, flush=True)
    found["history"], last = train(net, images, asked)
    found["accuracy"] |= {"last": last, "tuned": images.accuracy(net, "test")}
    save(net, folder / "tuned.npz")
    np.save(folder / "answers.npy", images.probabilities(net, images.splits["test"][0][: len(answers)]))
    found["versions"] = {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("torch", "torch-pruning", "numpy")},
    }
    (folder / "half.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
