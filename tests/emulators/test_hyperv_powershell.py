"""The subset of PowerShell: what it does as Windows PowerShell 5.1 does it, and that it guesses at nothing."""

import datetime as dt
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hyperv_host import emulator, error, outcome, output
from hypothesis import given
from hypothesis import strategies as st

from lab.emulators.hyperv.contract.binder import bind
from lab.emulators.hyperv.contract.tables import load
from lab.emulators.hyperv.emulator import Emulator, families
from lab.emulators.hyperv.powershell.interpreter import Arguments, run
from lab.emulators.hyperv.powershell.json51 import to_json
from lab.emulators.hyperv.powershell.parsing import parse
from lab.emulators.hyperv.powershell.values import EnumValue, PowerShellError, Record, Unsupported, custom, text

COMMANDS = "Microsoft.HyperV.PowerShell.Commands."


@pytest.fixture
def host(tmp_path: Path) -> Any:
    with emulator(tmp_path) as found:
        yield found


@pytest.mark.parametrize(
    "script",
    [
        "iex 'x'",
        "& 'x'",
        "$(1)",
        "[Math]::Pi",
        "Get-VM > 'x'",
        "Get-VM `\n-Name 'x'",
        "'unterminated",
        "'a\u2019; Remove-VM -Name x; \u2018b'",
        "'line\nbreak'",
        '"$x"',
        "Get-VM.Name",
        "$x.Method()",
        "1 + 1",
        "Get-VM -Name 1.5",
        "if (1) { }",
        "'a'; ; Get-VM -Name 'x' && 'y'",
        "function f { }",
        "Get-VM -Name a*",
        "Get-VM -Name C:\\x",
        "'x' | %{ $_ }",
        "x" * 200_001,
    ],
)
def test_what_is_outside_of_the_subset_is_refused(script: str) -> None:
    with pytest.raises(Unsupported, match="unsupported PowerShell"):
        parse(script)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("Mount-VHD -Path 'x'", "Mount-VHD exists in module hyperv but is not emulated"),
        ("Get-VM -ComputerName 'other'", "-ComputerName of Get-VM exists but is not emulated"),
        ("Get-VM 'x'", "arguments without the name of a parameter"),
        ("Get-VM -Nam 'x'", "-Nam of Get-VM is abbreviated"),
        ("New-VM -Name 'x' -NoVHD -BootDevice 'CD'", "-BootDevice of New-VM exists but is not emulated"),
        ("$unset", "the variable \\$unset is not set"),
        ("New-VM -Name 'x' -NoVHD | Select-Object 'Nonsense'", "VirtualMachine has no property Nonsense"),
        ("New-VM -Name 'x' -NoVHD | Select-Object 'CPUUsage'", "CPUUsage of VirtualMachine exists but is not emulated"),
        ("ConvertTo-Json -InputObject 'x'", "-Compress only"),
        ("ConvertTo-Json -Compress -InputObject @(New-VM -Name 'x' -NoVHD)", "of a whole VirtualMachine"),
        ("'x' | Where-Object -Property 'x'", "-Property of Where-Object is not emulated"),
        ("Get-VM @nothing", "only a hashtable can be splatted"),
    ],
)
def test_what_is_known_but_not_emulated_is_said(host: Emulator, script: str, said: str) -> None:
    with pytest.raises(Unsupported, match=said):
        outcome(host, script)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("Get-VM -Name 'nobody'", f"InvalidParameter,{COMMANDS}GetVM"),
        ("Get-VM -Nonsense 1", f"NamedParameterNotFound,{COMMANDS}GetVM"),
        ("New-VM -Name 'x' -Generation 3", f"ParameterArgumentValidationError,{COMMANDS}NewVM"),
        ("New-VM -Name 'x' -Generation 'two'", f"CannotConvertArgumentNoMessage,{COMMANDS}NewVM"),
        ("Set-VM -Name 'x' -CheckpointType 'Sometimes'", f"CannotConvertArgumentNoMessage,{COMMANDS}SetVM"),
        ("Start-VM", f"MissingMandatoryParameter,{COMMANDS}StartVM"),
        ("New-VM -Name 'x' -NoVHD -VHDPath 'y'", f"AmbiguousParameterSet,{COMMANDS}NewVM"),
        (
            "Start-VMFailover -VMName 'x' -Prepare -AsTest -Confirm:$false",
            f"AmbiguousParameterSet,{COMMANDS}StartVMFailover",
        ),
        (
            "New-VHD -Path 'C:\\a.vhdx' -SizeBytes -1",
            "CannotConvertArgumentNoMessage,Microsoft.Vhd.PowerShell.Cmdlets.NewVHD",
        ),
        ("1 | Start-VM", f"InputObjectNotBound,{COMMANDS}StartVM"),
        ("Get-Nonsense", "CommandNotFoundException"),
        ("throw 'x'", "x"),
        ("Write-Error 'x'", "Microsoft.PowerShell.Commands.WriteErrorException"),
        ("[int]'x'", "InvalidCastFromStringToInteger"),
        ("'{' | ConvertFrom-Json", "System.ArgumentException,Microsoft.PowerShell.Commands.ConvertFromJsonCommand"),
        ("Import-Module 'Azure'", "Modules_ModuleNotFound,Microsoft.PowerShell.Commands.ImportModuleCommand"),
        ("Remove-VM -Name 'x'", f"InvalidOperation,{COMMANDS}RemoveVM"),
        ("Start-VMFailover -VMName 'x'", f"InvalidOperation,{COMMANDS}StartVMFailover"),
    ],
)
def test_errors_have_the_ids_of_the_real_ones(host: Emulator, script: str, expected: str) -> None:
    assert error(host, script) == expected


def test_aliases_and_case_are_those_of_powershell(host: Emulator) -> None:
    output(host, "new-vm -vmname 'A' -novhd")
    [found] = output(host, "GET-VM -Name 'a' | select-object Name,@{L='S';Expression={[STRING]$_.STATE}}")
    assert found == {"Name": "A", "S": "Off"}


def test_pipelines_blocks_and_splats(host: Emulator) -> None:
    script = "$given = @{ Name = 'a'; NoVHD = $true }; New-VM @given; New-VM -Name 'b' -NoVHD; "
    outcome(host, script)
    assert output(
        host, "Get-VM | Where-Object { $_.Name -like 'B*' -or $_.Name -eq 'x' } | ForEach-Object { $_.Name }"
    ) == ["b"]
    assert output(
        host,
        "Get-VM | Where-Object { $_.State -eq 'Off' -and $_.ProcessorCount -lt 2 } | "
        "Select-Object -ExpandProperty Name",
    ) == ["a", "b"]
    assert output(host, "Get-VM | Select-Object -First 1 -Property 'Name'") == [{"Name": "a"}]
    assert output(host, "(Get-VM).Name") == ["a", "b"]
    assert output(host, "@(Get-VM -Name 'a'; Get-VM -Name 'b') | Select-Object Name") == [{"Name": "a"}, {"Name": "b"}]
    assert output(host, "try { Get-VM -Name 'c' } catch { $_.FullyQualifiedErrorId }") == [
        f"InvalidParameter,{COMMANDS}GetVM"
    ]


def test_an_error_goes_on_unless_it_is_told_to_stop(host: Emulator) -> None:
    class Nothing:
        def invoke(self, _script: object, name: str, _given: object, _piped: object) -> list[Any]:
            raise PowerShellError(name)

    going = run("Get-A; 'x'", Nothing())
    assert (going.output, len(going.errors), going.exit_code, going.progress) == (["x"], 1, 0, True)
    assert run("'x'; Get-A", Nothing()).exit_code == 1
    assert outcome(host, "Get-Nonsense; 'x'").output == []
    assert outcome(host, "exit 5; 'x'").exit_code == 5


def test_json_is_that_of_windows_powershell(host: Emulator) -> None:
    moment = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    assert to_json([EnumValue("VMState", "Running", 2), moment, "<'&'>"], 2) == (
        f'[2,"\\/Date({int(moment.timestamp() * 1000)})\\/","\\u003c\\u0027\\u0026\\u0027\\u003e"]'
    )
    deep = custom({"a": custom({"b": custom({"c": 1})})})
    assert json.loads(to_json(deep, 1)) == {"a": {"b": "@{c=1}"}}
    assert json.loads(to_json(dt.timedelta(seconds=90), 1))["Ticks"] == 900_000_000
    assert output(host, "ConvertTo-Json -Compress -InputObject @(Get-VM)") == ["[]"]
    assert outcome(host, "Get-VM | ConvertTo-Json -Compress").output == [], "a pipeline without objects writes nothing"
    assert output(host, "'a' | ConvertTo-Json -Compress") == ['"a"'], "one object is no array"
    assert output(host, "@('a'; 'b') | ConvertTo-Json -Compress") == ['["a","b"]']
    assert output(host, "'{\"a\":[1,{\"b\":2}]}' | ConvertFrom-Json | Select-Object 'a'") != []


def test_text_of_values() -> None:
    assert text(None) == ""
    assert text([1, "a", None]) == "1 a "
    assert text(dt.timedelta(days=1, seconds=3661)) == "1.01:01:01"
    assert text(Record("VirtualMachine", {})) == "VirtualMachine"
    assert text(custom({"a": 1})) == "@{a=1}"
    assert text({}) == "System.Collections.Hashtable"


def test_an_object_cannot_have_a_property_that_its_class_does_not_declare() -> None:
    module = load("hyperv")
    assert module.record("VMSwitch", {"SwitchType": "Private"}).get("switchtype") == EnumValue(
        "VMSwitchType", "Private", 0
    )
    with pytest.raises(AssertionError, match="has no Invented"):
        module.record("VMSwitch", {"Invented": 1})
    with pytest.raises(AssertionError, match="the enum VMSwitchType has no Invented"):
        module.record("VMSwitch", {"SwitchType": "Invented"})


@pytest.mark.parametrize("family", families(), ids=lambda family: family.module.name)
def test_every_emulated_parameter_is_a_real_one(family: Any) -> None:
    for name, emulated in family.cmdlets.items():
        real = {parameter.name for parameter in family.module.signatures[name].parameters}
        assert set(emulated.parameters.split()) <= real, name
        asks = emulated.asks.value
        assert asks == "never" or asks in real, f"{name} cannot be asked for -{asks}"


def test_the_tables_say_where_they_come_from() -> None:
    from importlib import resources

    folder = resources.files("lab.emulators.hyperv.contract")
    for name in ("hyperv", "management", "vmm"):
        assert json.loads(folder.joinpath(f"{name}.json").read_text())["attribution"]
    attribution = " ".join(json.loads(folder.joinpath("hyperv.json").read_text())["attribution"])
    assert "CC-BY-4.0" in attribution
    assert "MIT" in attribution


@given(st.text(max_size=200))
def test_no_text_makes_the_parser_do_anything_but_parse_or_refuse(script: str) -> None:
    with suppress(Unsupported):
        parse(script)


def test_time_spans_and_dates_are_bound() -> None:
    module = load("hyperv")
    signature = module.signatures["set-vmreplicationserver"]
    bound = bind(module, signature, Arguments({"MonitoringInterval": "01:30:00"}))
    assert bound.get("MonitoringInterval") == dt.timedelta(hours=1, minutes=30)
    with pytest.raises(PowerShellError, match="Cannot convert"):
        bind(module, signature, Arguments({"MonitoringInterval": "soon"}))
    start = module.signatures["start-vminitialreplication"]
    found = bind(module, start, Arguments({"VMName": "x", "InitialReplicationStartTime": "2026-01-02T03:04:05"}))
    assert found.get("InitialReplicationStartTime").isoformat() == "2026-01-02T03:04:05+00:00"
