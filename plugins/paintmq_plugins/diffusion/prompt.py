"""How long a prompt may be: what the text encoder does not read is refused, not dropped."""

from typing import Any

from paintmq.errors import ModelError


def check_prompt(text: str, option: str, tokenizer: Any) -> None:
    """Check that the text encoder reads the whole text.

    Args:
        text: What the client wrote.
        option: The name it was given by.
        tokenizer: The model's, of transformers.

    Raises:
        ModelError: it would drop the end, which is quoted.
    """
    most = tokenizer.model_max_length - 2  # a token at either end marks the ends
    # `verbose` would warn that the text is too long for the model: we say so ourselves.
    tokens = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    if len(tokens) <= most:
        return
    dropped = tokenizer.decode(tokens[most:]).strip()
    shown = dropped if len(dropped) <= 60 else f"{dropped[:59]}…"
    raise ModelError(
        f"option {option!r} has {len(tokens)} tokens, and the model reads {most}: shorten it;"
        f" what follows them is {shown!r}",
        code="invalid_option",
    )
