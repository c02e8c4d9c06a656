"""What one request asks, in the same words for every protocol."""
from dataclasses import dataclass, field


@dataclass
class Asked:
    """One request to the model."""

    protocol: str
    # "answer" for the model's next words, "count" for a count of tokens.
    wants: str
    model: str
    stream: bool
    # Names of the tools that the agent offers.
    tools: list = field(default_factory=list)
    # What the person said, and what tools answered, oldest first.
    prompts: list = field(default_factory=list)
    results: list = field(default_factory=list)
    # The JSON schema that the answer must have, where the request says one.
    schema: dict | None = None
    # The size of the prompt in characters, from which tokens are estimated.
    size: int = 0


def texts(content, *kinds):
    """The texts in `content`: a string itself, or the `text` of its parts, of these kinds where kinds are given."""
    if isinstance(content, str):
        return [content]
    found = []
    for part in content if isinstance(content, list) else []:
        if isinstance(part, str):
            found.append(part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str) and (not kinds or part.get("type") in kinds):
            found.append(part["text"])
    return found
