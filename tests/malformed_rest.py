"""Malformed HTTP requests to a model server, made by hypothesis."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping

from hypothesis import strategies as st
from malformed_arrays import MODEL_NAME, Contract, signature_name, unknown_name, wrong_array


@dataclasses.dataclass(frozen=True)
class RestRequest:
    """One HTTP request.

    Attributes:
      path: of the URL.
      body: bytes sent; None: it is a GET.
      names: the answer must hold one of these words.
      headers: further ones.
    """

    path: str
    body: bytes | None
    names: tuple[str, ...]
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


def malformed_requests(contract: Contract) -> st.SearchStrategy[RestRequest]:
    """Malformed HTTP requests to a server that limits bodies to 1 MiB."""
    kinds = (_array, _element, _left_out, _stranger, _broken_json, _no_request, _structure, _url)
    return st.sampled_from(kinds).flatmap(lambda kind: kind(contract))


def _predict(body: bytes, names: tuple[str, ...], **headers: str) -> RestRequest:
    return RestRequest(f"/v1/models/{MODEL_NAME}:predict", body, names, headers)


def good_json(contract: Contract, signature: str, in_rows: bool) -> dict:
    """A good request, by rows (`instances`) or by columns (`inputs`)."""
    columns = {name: a.tolist() for name, a in contract[signature].example().items()}
    if not in_rows:
        return {"signature_name": signature, "inputs": columns}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {"signature_name": signature, "instances": rows}


@st.composite
def _array(draw: Callable, contract: Contract) -> RestRequest:
    signature = draw(signature_name(contract))
    name, wrong = draw(wrong_array(contract[signature]))
    request = good_json(contract, signature, in_rows=False)
    request["inputs"][name] = wrong.tolist()
    # NaN is no JSON, though Python writes it: that may be what the answer says.
    return _predict(json.dumps(request).encode(), (name, "NaN", "Infinity"))


_NO_NUMBERS = (
    '"text"',
    "null",
    "true",
    "{}",
    '{"b64": "AAAA"}',
    '{"b64": "&"}',
    '{"c": 1}',
    "[[1], 2]",
    "1e999",
    "-1e999",
    f"{10**400}",
)


@st.composite
def _element(draw: Callable, contract: Contract) -> RestRequest:
    """One number, or a whole input, is no number."""
    signature, in_rows = draw(signature_name(contract)), draw(st.booleans())
    request = good_json(contract, signature, in_rows)
    rows = draw(st.sampled_from(request["instances"])) if in_rows else request["inputs"]
    name = draw(st.sampled_from(sorted(rows)))
    holder, key = rows, name
    while isinstance(holder[key], list) and draw(st.booleans()):
        holder, key = holder[key], draw(st.integers(0, len(holder[key]) - 1))
    choices = _NO_NUMBERS
    if contract[signature].inputs[name].dtype.is_integer:
        choices += ("1.5", f"{2**31}", f"{-(2**31) - 1}", f"{2**70}")
    holder[key] = "HERE"
    text = json.dumps(request).replace('"HERE"', draw(st.sampled_from(choices)))
    # Numbers beyond what 64 bits hold may already be no JSON to the parser.
    return _predict(text.encode(), (name, "JSON"))


@st.composite
def _left_out(draw: Callable, contract: Contract) -> RestRequest:
    signature, in_rows = draw(signature_name(contract)), draw(st.booleans())
    request = good_json(contract, signature, in_rows)
    rows = draw(st.sampled_from(request["instances"])) if in_rows else request["inputs"]
    name = draw(st.sampled_from(sorted(rows)))
    del rows[name]
    return _predict(json.dumps(request).encode(), (name,))


@st.composite
def _stranger(draw: Callable, contract: Contract) -> RestRequest:
    """An input or a signature that the model does not have."""
    signature, in_rows = draw(signature_name(contract)), draw(st.booleans())
    name = draw(unknown_name)
    request = good_json(contract, signature, in_rows)
    if draw(st.booleans()):
        request["signature_name"] = name
    elif in_rows:
        draw(st.sampled_from(request["instances"]))[name] = 1.0
    else:
        request["inputs"][name] = [1.0, 1.0]
    return _predict(json.dumps(request).encode(), (name,))


@st.composite
def _broken_json(draw: Callable, contract: Contract) -> RestRequest:
    signature, in_rows = draw(signature_name(contract)), draw(st.booleans())
    good = json.dumps(good_json(contract, signature, in_rows)).encode()
    position = draw(st.integers(0, len(good) - 1))
    broken = [
        good[:position],
        good + draw(st.sampled_from([b"}", b"{}", b"x", b"\0"])),
        good[:position] + b"\xff\xfe" + good[position:],
        draw(st.binary(max_size=50)) + b"\x80",
        b"[" * draw(st.integers(1, 200_000)),
        b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"inputs": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    ]
    return _predict(draw(st.sampled_from(broken)), ("JSON", "instances", "inputs", "body"))


@st.composite
def _no_request(draw: Callable, contract: Contract) -> RestRequest:
    """JSON that is no request at all."""
    nothing = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
    several = st.lists(nothing, max_size=3) | st.dictionaries(unknown_name, nothing)
    value = draw(nothing | several)
    return _predict(json.dumps(value).encode(), ("JSON", "instances", "inputs"))


@st.composite
def _structure(draw: Callable, contract: Contract) -> RestRequest:
    signature = draw(signature_name(contract))
    rows, columns = (good_json(contract, signature, in_rows) for in_rows in (True, False))
    no_table = st.sampled_from([3, "text", True, [], [[]], [1.0], ["text"], [None], {"b64": "AA"}])
    inputs = (*columns["inputs"], "b64")
    changed, names = draw(
        st.one_of(
            st.just((rows | columns, ("instances", "inputs"))),
            no_table.map(lambda value: (rows | {"instances": value}, ("instances", *inputs))),
            no_table.map(lambda value: (columns | {"inputs": value}, ("inputs", *inputs))),
            st.sampled_from([3, [signature], {}, True]).map(
                lambda value: (rows | {"signature_name": value}, ("signature_name",))
            ),
        )
    )
    return _predict(json.dumps(changed).encode(), names)


@st.composite
def _url(draw: Callable, contract: Contract) -> RestRequest:
    """A good body at a wrong place, or packed wrongly."""
    request = good_json(contract, draw(signature_name(contract)), draw(st.booleans()))
    body, name, base = json.dumps(request).encode(), draw(unknown_name), "/v1/models"
    version = draw(st.integers(2, 10**30))
    requests = [
        RestRequest(f"{base}/{name}:predict", body, (name,)),
        RestRequest(f"{base}/{name}", None, (name,)),
        RestRequest(f"{base}/{name}/metadata", None, (name,)),
        RestRequest(f"{base}/{MODEL_NAME}/versions/{version}:predict", body, (str(version),)),
        RestRequest(f"{base}/{MODEL_NAME}/versions/{version}/metadata", None, (str(version),)),
        RestRequest(f"{base}/{MODEL_NAME}/versions/{name}:predict", body, (name,)),
        RestRequest(f"{base}/{MODEL_NAME}/labels/{name}:predict", body, (name, "labels")),
        RestRequest(f"{base}/{MODEL_NAME}:{name}", body, (name,)),
        RestRequest(f"/{name}", body, (name,)),
        RestRequest(f"{base}/{MODEL_NAME}:predict", None, ("GET", "POST", "method", "Method")),
        _predict(body, ("gzip", "Content-Encoding"), **{"Content-Encoding": "gzip"}),
        _predict(b" " * 2**20 + body, ("body", "long", "large", "bytes", "MiB")),
    ]
    return draw(st.sampled_from(requests))
