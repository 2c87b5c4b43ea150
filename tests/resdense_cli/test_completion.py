"""The Tab key offers what a command takes, in the words that a shell asks with."""

import os
import subprocess
import sys

import pytest

from resdense_keras import list_models


@pytest.fixture
def offered(resdense, monkeypatch):
    """Call it with what was typed; what bash is offered."""

    def complete(typed):
        words = typed.split(" ")
        monkeypatch.setenv("_RESDENSE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        monkeypatch.setattr(sys, "argv", ["resdense"])
        code, out, err = resdense()
        assert (code, err) == (0, "")
        return out.split()

    return complete


@pytest.mark.parametrize(
    "typed, expected",
    [
        ("resdense train densenet2", ["densenet201", "densenet264"]),
        ("resdense export resnet1202", ["resnet1202"]),
        ("resdense compare resnet20 densenet_bc22", ["densenet_bc22_16", "densenet_bc22_24"]),
        ("resdense models plain5", ["plain56"]),
        ("resdense train resnet20 --data cifar", ["cifar10", "cifar100"]),
        ("resdense train resnet20 --recipe fi", ["finetune"]),
        ("resdense export resnet20 --schemes fp32,dy", ["fp32,dynamic"]),
        ("resdense export resnet20 --weights im", ["imagenet"]),
        ("resdense eval resnet20 --resize st", ["stretch"]),
        ("resdense comp", ["compare"]),
        ("resdense export resnet20 --max-d", ["--max-drop"]),
        ("resdense check resnet20-int8.tf", []),  # then the shell offers files
    ],
)
def test_what_was_begun_is_completed(offered, typed, expected):
    assert offered(typed) == expected


def test_every_net_of_the_catalogue_is_offered(offered):
    assert sorted(offered("resdense train ")) == sorted(list_models())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(resdense, monkeypatch, shell):
    import shellingham

    monkeypatch.setattr(shellingham, "detect_shell", lambda *_: (shell, f"/bin/{shell}"))
    code, out, _ = resdense("--show-completion")
    assert code == 0 and "_RESDENSE_COMPLETE" in out and "resdense" in out


def test_a_completion_loads_nothing_heavy():
    program = (
        "import sys\nfrom resdense_cli.main import main\nsys.argv = ['resdense']\n"
        "try: main([])\nexcept SystemExit: pass\n"
        "print('loaded', [name for name in ('keras', 'tensorflow', 'matplotlib') if name in sys.modules])"
    )
    asked = {"_RESDENSE_COMPLETE": "complete_bash", "COMP_WORDS": "resdense train --data d", "COMP_CWORD": "3"}
    run = subprocess.run([sys.executable, "-c", program], env=os.environ | asked, capture_output=True, text=True)
    assert run.stdout.split("\n")[:2] == ["digits", "loaded []"], run.stderr


def test_without_arguments_the_help_is_shown(resdense):
    code, out, err = resdense()
    assert (code, err) == (2, "") and "compare" in out
