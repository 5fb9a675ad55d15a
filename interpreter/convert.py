"""Turns a GGUF file into a transformers checkpoint, because reading one takes half a minute."""

from pathlib import Path

from rich.console import Console

from interpreter.progress import spinner


def convert_gguf(gguf: Path, folder: Path, name: str) -> None:
    """Writes the model and the tokenizer of `gguf` into `folder`, in float32.

    transformers reads nothing smaller back as it was: with the weights rounded to float16 the
    logits of SmolLM2-135M move by 0.04.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    Console(stderr=True).print(f"Converting {name} once, to load it fast from then on")
    with spinner(f"Converting {name}"):
        packed = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype="float32"
        )
        # A model that was read from a GGUF is saved as quantised; one made anew is not.
        config = packed.config
        del config.quantization_config
        config.architectures = [type(packed).__name__]
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        model.load_state_dict(packed.state_dict(), assign=True)
        model.tie_weights()
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
