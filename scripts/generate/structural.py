"""Makes a structural schema, the kind that a CustomResourceDefinition has, of pydantic's JSON Schema.

It has no references and no nulls among types, and says some things in words of its own. Defaults are sentences in it:
a trial's id leaves defaults out, so an object must keep what its author wrote.
"""

from typing import Any

Schema = dict[str, Any]

# The words of a structural schema that a model's schema has too, in the order in which they are written.
_KEPT = (
    "type",
    "nullable",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "required",
    "oneOf",
    "x-kubernetes-validations",
)
# What is said in another way, or not at all, in a structural schema. Unknown fields are dropped there by themselves.
_REPLACED = (
    "$ref",
    "$defs",
    "anyOf",
    "title",
    "description",
    "default",
    "const",
    "propertyNames",
    "properties",
    "items",
    "additionalProperties",
    "x-trialrun-change",
    "x-trialrun-depth",
)
_SCALARS = ["boolean", "integer", "number", "string"]
_ONE_OR_MORE = [*_SCALARS, "array"]  # a scalar, or a list of them
# Any scalar; no type can say so. Lists and mappings, having no size that fits, are refused.
_ANY_SCALAR = {
    "x-kubernetes-preserve-unknown-fields": True,
    "minItems": 1,
    "maxItems": 0,
    "minProperties": 1,
    "maxProperties": 0,
}
_SCALAR = {**_ANY_SCALAR, "maxLength": 1024, "nullable": True}
_FIXED = "cannot change; apply the new one under another name, or delete this one first"
_GROWS = "cannot fall; raise it to have more run"


def structural(model: Schema, *, report: bool = False) -> Schema:
    """The structural schema of what a model's JSON Schema describes.

    A part of a `report` is written by the operator: a null says there is none, and no field is required, so that
    what an older operator writes is taken while an upgrade goes on.
    """
    return _Structural(model.get("$defs", {}), report).node(model)


class _Structural:
    def __init__(self, definitions: Schema, report: bool) -> None:
        self._definitions = definitions
        self._report = report

    def node(self, node: Schema) -> Schema:
        node = self._whole(node)
        if unknown := node.keys() - {*_KEPT, *_REPLACED}:
            raise ValueError(f"must be said in a structural schema somehow: {', '.join(sorted(unknown))}")
        found: Schema = {"description": self._sentence(node)} if "description" in node else {}
        found |= {word: node[word] for word in _KEPT if word in node}
        if "const" in node:
            found["enum"] = [node["const"]]
        for bound in ("Minimum", "Maximum"):
            if (limit := node.get(f"exclusive{bound}")) is not None:
                found |= {bound.lower(): limit, f"exclusive{bound}": True}
        if node.get("type") == ["string", "integer"]:
            del found["type"]
            found["x-kubernetes-int-or-string"] = True
        if node.get("type") == "array":
            found.setdefault("x-kubernetes-list-type", "atomic")
        if "oneOf" in node:  # which may say no types here
            found["oneOf"] = [{"required": option["required"]} for option in node["oneOf"]]
        if self._report:
            found.pop("required", None)
        rules = [*node.get("x-kubernetes-validations", ()), *self._changes(node), *_keys(node)]
        if rules:
            order = ("rule", "message", "fieldPath")
            found["x-kubernetes-validations"] = [{w: rule[w] for w in order if w in rule} for rule in rules]
        return found | self._below(node)

    def _whole(self, node: Schema) -> Schema:
        """The node with what it refers to, and with the only type that it has beside null."""
        if "$ref" in node:
            referred = self._definitions[node["$ref"].removeprefix("#/$defs/")]
            node = {**referred, **{word: value for word, value in node.items() if word != "$ref"}}
        if "anyOf" not in node:
            return node
        rest = {word: value for word, value in node.items() if word != "anyOf"}
        if [option.get("type") for option in node["anyOf"]] == _SCALARS:
            return {**_ANY_SCALAR, **rest}
        if [option.get("type") for option in node["anyOf"]] == _ONE_OR_MORE:
            scalars = {"items": _SCALAR, "minProperties": 1, "maxProperties": 0, "maxItems": 64}
            return {"x-kubernetes-preserve-unknown-fields": True, **scalars, **rest}
        (option,) = (option for option in node["anyOf"] if option.get("type") != "null")
        return {**self._whole(option), **rest, **({"nullable": True} if self._report else {})}

    def _sentence(self, node: Schema) -> str:
        default = node.get("default")
        if self._report or default is None or isinstance(default, dict) or default == []:
            return str(node["description"])
        if isinstance(default, list):
            return f"{node['description']} Default [{', '.join(map(str, default))}]."
        text = str(default).lower() if isinstance(default, bool) else str(default)
        return f"{node['description']} Default {text or 'empty'}."

    def _changes(self, node: Schema) -> list[Schema]:
        """The rules about fields that cannot change as they like once the object exists."""
        rules: list[Schema] = []
        for name, field in node.get("properties", {}).items():
            change, same = field.get("x-trialrun-change"), f"self.{name} == oldSelf.{name}"
            if change == "Never" and name in node.get("required", ()):
                rules.append({"rule": same, "message": _FIXED, "fieldPath": f".{name}"})
            elif change == "Never":
                same = f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || {same})"
                rules.append({"rule": same, "message": _FIXED, "fieldPath": f".{name}"})
            elif change == "Upwards":
                least = field["default"] or 0
                now, before = (f"{each}.?{name}.orValue({least})" for each in ("self", "oldSelf"))
                rules.append({"rule": f"{now} >= {before}", "message": _GROWS, "fieldPath": f".{name}"})
        return rules

    def _below(self, node: Schema) -> Schema:
        found: Schema = {}
        if "properties" in node:
            found["properties"] = {name: self.node(field) for name, field in node["properties"].items()}
        for word in ("items", "additionalProperties"):
            if "x-trialrun-depth" in node and word == "additionalProperties":
                found[word] = _anything(node["x-trialrun-depth"])
            elif isinstance(node.get(word), dict):
                found[word] = self.node(node[word])
                found[word].pop("description", None)  # the field's own says it
        return found


def _anything(depth: int) -> Schema:
    """Scalars, and lists and mappings of them that are nested so deep."""
    if depth == 0:
        return _SCALAR
    below = _anything(depth - 1)
    return {"x-kubernetes-preserve-unknown-fields": True, "nullable": True, "items": below,
            "additionalProperties": below}  # fmt: skip


def _keys(node: Schema) -> list[Schema]:
    """The rule about a mapping's keys, for which a structural schema has no words."""
    bounds = dict(node.get("propertyNames", {}))
    if not bounds:
        return []
    fewest, most = bounds.pop("minLength"), bounds.pop("maxLength")
    if bounds:
        raise ValueError(f"must be said in CEL somehow: {', '.join(bounds)}")
    return [
        {
            "rule": f"self.all(key, key.size() >= {fewest} && key.size() <= {most})",
            "message": f"must have keys of {fewest} to {most} characters",
        }
    ]
