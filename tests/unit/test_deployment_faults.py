"""Modules that fail, or are none: errors of the host's own, whatever happens inside."""

import numpy as np
import pytest
import wasmtime

from riskweave.deployment.runtime.host import ABI, Host
from riskweave.deployment.runtime.module import Module, ModuleError


def exporting(body, **more):
    """Return a module of text whose rw_predict has a body."""
    imports = more.get("imports", "")
    return wasmtime.wat2wasm(
        f'(module {imports} (memory (export "memory") 1) (func (export "_initialize"))'
        f' (func (export "rw_abi") (result i32) i32.const {more.get("abi", ABI)})'
        f' (func (export "rw_reset")) (func (export "rw_predict") (result i32) {body}))'
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("unreachable", "unreachable"),
        ("(i32.load (i32.const 100000000))", "out of bounds"),
        ("(loop (br 0)) (i32.const 0)", "fuel"),
    ],
)
def test_a_module_that_fails_is_an_error_of_ours(body, reason, monkeypatch):
    monkeypatch.setattr("riskweave.deployment.runtime.host.FUEL", 10**7)
    host = Host(bytes(exporting(body)))
    with pytest.raises(ModuleError, match=reason):
        host.call("rw_predict")
    with pytest.raises(ModuleError, match="start it again"):
        host.call("rw_reset")
    host.restart()
    host.call("rw_reset")
    with pytest.raises(ModuleError, match="outside its memory"):
        host.read(65_000, 1000)
    with pytest.raises(ModuleError, match="outside its memory"):
        host.write(65_000, np.zeros(1000))
    with pytest.raises(ModuleError, match="no function rw_risks"):
        host.call("rw_risks")


def test_what_is_no_module_is_told():
    with pytest.raises(ModuleError, match="no WebAssembly"):
        Host(b"\0asm nothing")
    with pytest.raises(ModuleError, match="interface version 9"):
        Host(bytes(exporting("i32.const 0", abi=9)))
    with pytest.raises(ModuleError, match="wants something"):
        Host(bytes(exporting("i32.const 0", imports='(import "wasi" "open" (func))')))
    with pytest.raises(ModuleError, match="format 9"):
        Module(b"", {"format": 9})
    hungry = '(module (memory (export "memory") 30000))'
    with pytest.raises(ModuleError, match="does not start"):
        Host(bytes(wasmtime.wat2wasm(hungry)))


def test_code_is_kept_where_the_user_has_a_place_for_it_and_runs_where_none_is(tmp_path, monkeypatch):
    code = bytes(exporting("i32.const 7"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert [Host(code).call("rw_predict") for _ in range(2)] == [7, 7]
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert Host(code).call("rw_predict") == 7
