"""Blanks secrets of known forms in text that programs wrote, before it enters a record, status, log or page. Pure.

What is blanked follows from the text alone, and takes time proportional to its length: no pattern gives back what it
has taken, and each begins where a word does. A secret of no known form, under no telling name, goes through.
"""

import re
from collections.abc import Iterator

BLANK = "***"

_B64 = "A-Za-z0-9+/="
_BREAK = r"(?:\s|\\[nrt])"  # also as JSON and Python write it
_END = r"-----END [A-Z0-9 ]{0,40}+-----"
# A block from its beginning, and the rest of one whose beginning was cut off, whole lines of which are left.
_BLOCK = re.compile(
    rf"-----BEGIN (?:[A-Z0-9]{{1,20}} ){{0,4}}PRIVATE KEY(?: BLOCK)?-----"
    rf"(?P<body>(?:{_BREAK}|[{_B64}]{{16,}}+|(?:Proc-Type|DEK-Info|Version|Comment):[^\n\\]{{0,100}}+)*+"
    rf"(?:(?:[{_B64}]{{1,15}}{_BREAK}*+){{0,8}}+{_END})?)"
)
_REST = re.compile(
    rf"(?<![{_B64}])(?:[{_B64}]{{16,}}+{_BREAK}++)++(?:[{_B64}]++{_BREAK}*+)?"
    rf"(?P<end>-----END (?:[A-Z0-9]{{1,20}} ){{0,4}}PRIVATE KEY(?: BLOCK)?-----)?"
)
# Before the last @ of what may be an authority. A name alone is no secret unless it is as long as a token; with a
# password, which may hold a slash, after a port there is none.
_USERINFO = re.compile(
    r"(?<=://)(?:[^\s/?#@:\"'<>]{0,200}+:(?!\d{1,5}(?:[/?#\s]|$))[^\s\"'<>]{1,200}@|[^\s/?#@:\"'<>]{20,200}+@)"
)
# What services give their tokens to be known by.
_TOKENS = (
    r"(?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA)[A-Z0-9]{16}(?![A-Z0-9])",  # AWS
    r"gh[opsur]_[A-Za-z0-9]{20,}+",  # GitHub
    r"github_pat_\w{20,}+",
    r"gl(?:pat|oas|dt|rt|cbt|ptt|ft|imt|agent|soat|ffct)-[\w.-]{16,}+",  # GitLab
    r"xox[a-z](?:\.xox[a-z])?-[\w-]{10,}+",  # Slack
    r"xapp-[\w-]{10,}+",
    r"hooks\.slack\.com/(?:services|workflows|triggers)/[\w/]{10,}+",
    r"hf_[A-Za-z0-9]{20,}+",  # Hugging Face
    r"sk-(?=[\w-]{0,60}\d)[\w-]{20,}+",  # OpenAI, Anthropic and others
    r"AIza[\w-]{35}",  # Google
    r"ya29\.[\w.-]{20,}+",
    r"GOCSPX-[\w-]{20,}+",
    r"npm_[A-Za-z0-9]{30,}+",
    r"pypi-AgE[\w-]{16,}+",
    r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}+",  # Stripe
    r"SG\.[\w-]{16,}+\.[\w-]{16,}+",  # SendGrid
    r"dckr_[a-z]{3}_[\w-]{20,}+",  # Docker
    r"do[opr]_v1_[a-f0-9]{32,}+",  # DigitalOcean
    r"dapi[a-f0-9]{32}",  # Databricks
    r"hv[bs]\.[\w-]{20,}+",  # Vault
    r"eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]*+){0,3}",  # a JSON Web Token
)
_KNOWN = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(_TOKENS)})", re.ASCII)
_SCHEME = re.compile(
    r"(?<![\w-])((?i:Bearer|Basic))([ \t]{1,4}|%20)(?=[\w.~+/=-]{0,60}[\d=.~+/_A-Z])[\w.~+/=-]{16,}+",
    re.ASCII,
)

# A name, and what stands between it and its value: `=`, `:`, `=>`, the comma of a pair, the space after a flag. A
# terminal's colours end in a digit and an m, which belong to no name.
_NAME = re.compile(
    r"(?:(?<!\w)|(?<=\dm))(?P<name>\w[\w.-]{0,199}+)"
    r"(?:(?:\\{0,3}[\"'])?+[ \t]{0,8}+(?::=|=>|==?|:)[ \t]{0,8}+|(?P<pair>[\"'],)[ \t]{0,8}+|(?P<space>[ \t]{1,4}))",
    re.ASCII,
)
_LINE = re.compile(r"[^\n\r\"']++")
_VALUE = re.compile(
    r"[bru]{0,2}(?:"
    r"\\{1,3}(?P<escaped>[\"'])(?P<in_escaped>(?:(?!\\{1,3}(?P=escaped))[^\n])*)"
    r"|\"(?P<in_double>(?:[^\"\\\n]|\\.)*+)"
    r"|'(?P<in_single>(?:[^'\\\n]|\\.)*+))"
    r"|(?P<bare>[^\s\"'\x00-\x1f]++)"
)
_BARE_OF_MANY = re.compile(r"(?P<bare>[^\s\"'&;\x00-\x1f]++)")

_STEMS = re.compile(
    "password|passwd|passphrase|secret|apikey|accesskey|privatekey|accountkey|sharedkey|signingkey|encryptionkey|"
    "authkey|authtoken|credential|authorization|authuserinfo|connectionstring|connstr|pwd"
)
# The last word of names that speak of a secret and don't hold it.
_ABOUT = frozenset(
    {"arn", "attempts", "changed", "class", "count", "dir", "enabled", "error", "exists", "expired", "expires",
     "expiry", "field", "fields", "file", "files", "format", "header", "hint", "len", "length", "manager", "max",
     "min", "name", "names", "path", "policy", "prompt", "provider", "ref", "required", "retries", "rule", "size",
     "source", "type", "version"}
)  # fmt: skip
# Words before `token` and `pass` in training's own language.
_OF_TEXT = frozenset(
    {"any", "bos", "cls", "current", "each", "end", "eos", "image", "invalid", "last", "mask", "new", "next", "pad",
     "per", "prev", "previous", "sep", "special", "start", "stop", "unexpected", "unk", "unknown"}
)  # fmt: skip
_OF_LOOPS = frozenset(
    {"backward", "first", "forward", "multi", "second", "single"}
)  # fmt: skip
# Values that are none: nothing, a type, a placeholder, the first word of a sentence.
_NOTHING = frozenset(
    {"a", "an", "and", "are", "authentication", "cannot", "could", "does", "expected", "failed", "false", "for",
     "from", "has", "in", "incorrect", "invalid", "is", "isn", "missing", "must", "no", "none", "not", "null",
     "nil", "of", "or", "required", "should", "string", "str", "the", "this", "to", "true", "undefined", "unknown",
     "unset", "was", "were", "which", "will", "with", "wrong", "yes", "bool", "int", "bytes", "optional", "access",
     "bad", "denied", "empty", "eof", "malformed", "permission", "unexpected"}
)  # fmt: skip
_PLACEHOLDER = re.compile(
    r"\$\{[^{}]*\}|\$\(\w+\)|\$\w+|%\(\w+\)s|\{\w*\}|<[\w -]*>|[*.•x]+|[A-Z]*REDACTED[A-Z]*|[\W_]+"
)
_WHOLE_LINE = re.compile("authorization|cookie|passphrase")
_ENDS = ".,;:)]}>"


def redacted(text: str) -> str:
    """`text` with `***` in place of every secret of a known form: keys, tokens, passwords in URLs, values by name.

    Once is enough: what is redacted stays as it is.
    """
    text = _BLOCK.sub(lambda found: BLANK if found["body"].strip() else found[0], text)
    text = _REST.sub(lambda found: BLANK if found["end"] else found[0], text)
    text = _USERINFO.sub(BLANK + "@", text)
    text = _KNOWN.sub(BLANK, text)
    text = _SCHEME.sub(rf"\1\2{BLANK}", text)
    return "".join(_named(text))


def _named(text: str) -> Iterator[str]:
    """The pieces of `text`, values of telling names blanked."""
    written = at = 0
    while (found := _NAME.search(text, at)) is not None:
        at = found.end()
        if not _introduces(found, text) or (kind := _kind(found["name"])) is None:
            continue
        start, end = _secret(text, found, kind)
        if start < end:
            yield text[written:start]
            yield BLANK
            written = at = end
    yield text[written:]


def _introduces(found: re.Match[str], text: str) -> bool:
    """Whether what follows the name is its value: after a space alone only where the name is a flag's."""
    if found["space"] is not None:
        return text[max(0, found.start() - 2) : found.start()] == "--"
    if found["pair"] is not None:
        return text[max(0, found.start() - 1) : found.start()] == found["pair"][0] and text[
            found.end() : found.end() + 1
        ] in ("'", '"')
    return True


def _kind(name: str) -> str | None:
    """What a name says that its value is: a `secret`, a `token`, or a `line` of them; None for anything else."""
    name = re.sub(r"^\d{1,3}m", "", name)
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]
    if not words or words[-1] in _ABOUT:
        return None
    joined, last, before = "".join(words), words[-1], words[-2] if len(words) > 1 else ""
    if _WHOLE_LINE.search(joined):
        return "line"
    if joined in ("pwd", "oldpwd"):
        return "folder"
    if _STEMS.search(joined):
        return "path" if last.startswith("credential") else "secret"
    if last.endswith("token") and (last != "token" or before not in _OF_TEXT):
        return "token"
    if last == "pass" and before not in _OF_LOOPS:
        return "token"
    return "token" if last in ("auth", "sig", "signature") else None


def _secret(text: str, found: re.Match[str], kind: str) -> tuple[int, int]:
    """Where the secret after a name begins and ends; nothing where the value is none."""
    at = found.end()
    nowhere = at, at
    if kind == "line" and (line := _LINE.match(text, at)) is not None:
        value = line[0].rstrip()
        return nowhere if _is_none(value, kind) else (at, at + len(value))
    many = text[max(0, found.start() - 1) : found.start()] in ("?", "&", ";")
    value_found = (_BARE_OF_MANY if many else _VALUE).match(text, at) or _VALUE.match(text, at)
    if value_found is None:
        return nowhere
    where = value_found.lastgroup
    assert where is not None  # noqa: S101 - every branch has a group
    if where == "bare":
        whole = value_found["bare"]
        value = whole.rstrip(_ENDS)
        # What a program calls for its value, as in a traceback; what errors are about, as in `token: parse: no such`.
        told = len(whole) < 100 and (whole[-1] in "([{" or re.fullmatch("[A-Za-z]+:", whole) is not None)
        return nowhere if told or _is_none(whole, kind) or _is_none(value, kind) else (at, at + len(value))
    where = next(name for name in ("in_escaped", "in_double", "in_single") if value_found[name] is not None)
    value = value_found[where]
    return nowhere if _is_none(value, kind) else value_found.span(where)


def _is_none(value: str, kind: str) -> bool:
    """Whether a value holds no secret."""
    if value.lower() in _NOTHING or _PLACEHOLDER.fullmatch(value):
        return True
    number = re.fullmatch(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?", value) is not None
    match kind:
        case "token":
            return number and len(value) < 10
        case "folder" | "path":
            return number or value[:1] in ("/", "~", ".") or value[1:3] in (":\\", ":/")
        case _:
            return number and len(value) < 4
