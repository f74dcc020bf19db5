"""What several test modules share of stages."""

from safetensors.torch import load_file, save_file


def change(folder, edit):
    """Rewrite the tensors of a checkpoint: edit(name, tensor) -> tensor."""
    path = folder / "model.safetensors"
    save_file({n: edit(n, t).contiguous() for n, t in load_file(path).items()}, path, metadata={"format": "pt"})
