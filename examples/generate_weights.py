"""Write weight files with random numbers, so that every model can be run without downloads.

    python examples/generate_weights.py FOLDER [FILE...]
    paintmq run lama photo.png --mask mask.png --config FOLDER/paintmq.toml

About 1.2 GB; what is in the folder already is left alone, so real weights may lie among them.
Needs the libraries of the models (``paintmq[lama,mat,zits,diffusion]``) and ``onnx``; a file whose
library is missing is left out and named. Nothing that these weights paint means anything.
"""

import argparse
from pathlib import Path

from paintmq_plugins.generated_weights import SETTINGS, WRITERS, generate


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", nargs="*", metavar="FILE", help="only these files")
    arguments = parser.parse_args()
    unknown = set(arguments.files) - set(WRITERS)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: one of {', '.join(WRITERS)}")
    for name in arguments.files or WRITERS:
        try:
            generate(arguments.folder, {name: WRITERS[name]})
        except ImportError as error:
            print(f"left out {name}: {error}")
        else:
            print(arguments.folder / name)
    print(f"use them with: --config {arguments.folder / SETTINGS}")


if __name__ == "__main__":
    main()
