"""Put the weights of a finished pretraining run into the package: the last step of `make pretrain-nano`.

`python -m benchmarks.nano_weights runs/pretrain_nano/checkpoints/last.ckpt`
"""

import argparse
from importlib.resources import files
from pathlib import Path

from gdino_lightning.model.nano.weights import WEIGHTS_NAME, save_nano
from gdino_lightning.model.pretrained import load_pretrained

PACKAGE = "gdino_lightning.model.nano"


def main() -> None:
    """Write the weights of the last epoch, not of the best: it is the one whose rate has come down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="last.ckpt of a run of `gdino pretrain`")
    checkpoint = parser.parse_args().checkpoint
    path = Path(str(files(PACKAGE).joinpath(WEIGHTS_NAME)))
    save_nano(load_pretrained(checkpoint).model, path)
    print(f"{checkpoint} -> {path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
