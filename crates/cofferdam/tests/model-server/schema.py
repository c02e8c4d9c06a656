"""A small JSON value of a given JSON schema: what a model answers where it is told the shape of its answer."""


def instance(schema, text):
    """A value that the schema takes; strings are `text`, numbers as small as they may be."""
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            return instance(schema[choice][0], text)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    kind = str((kind[0] if isinstance(kind, list) else kind) or "object").lower()
    if kind == "object":
        return {name: instance(one, text) for name, one in schema.get("properties", {}).items()}
    if kind == "array":
        return [instance(schema.get("items", {}), text)] * schema.get("minItems", 0)
    if kind in ("number", "integer"):
        return schema.get("minimum", 1)
    return {"string": text, "boolean": False}.get(kind)
