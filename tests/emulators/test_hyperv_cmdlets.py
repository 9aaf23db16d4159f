"""What the emulated cmdlets do, without a client: machines, disks, cards, checkpoints, replication states."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hyperv_host import emulator, error, outcome, output

from lab.emulators.common.faults import Delay, Fail
from lab.emulators.hyperv.emulator import Emulator
from lab.emulators.hyperv.powershell.values import PowerShellError, Unsupported

HYPERV, VHD = "Microsoft.HyperV.PowerShell.Commands.", "Microsoft.Vhd.PowerShell.Cmdlets."
ITEMS = "Microsoft.PowerShell.Commands."
DISK = "C:\\disks\\a.vhdx"
MACHINE = f"New-VHD -Path '{DISK}' -SizeBytes 8MB -Dynamic; New-VM -Name 'vm' -VHDPath '{DISK}'"
PIPE, CONSOLE = "\\\\.\\pipe\\x", "C:\\recovery-lab\\x\\consoles\\vm.log"
CONVERT = f"Convert-VHD -Path '{DISK}' -DestinationPath 'C:\\b.vhdx'"
STATE = "Get-VM -Name 'vm' | ForEach-Object { [string]$_.State }"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Emulator]:
    with emulator(tmp_path) as found:
        yield found


def state(host: Emulator) -> object:
    return output(host, STATE)[0]


def test_a_machine_lives_and_is_removed(host: Emulator) -> None:
    output(host, MACHINE)
    for script, expected in (
        ("Start-VM -Name 'vm'", "Running"),
        ("Suspend-VM -Name 'vm'", "Paused"),
        ("Resume-VM -Name 'vm'", "Running"),
        ("Restart-VM -Name 'vm' -Force", "Running"),
        ("Stop-VM -Name 'vm' -TurnOff -Force", "Off"),
        ("Get-VM | Start-VM", "Running"),
        ("Stop-VM -Name 'vm' -Force", "Off"),
    ):
        assert outcome(host, script).errors == []
        assert state(host) == expected
    output(host, "Remove-VM -Name 'vm' -Force")
    assert output(host, "Get-VM") == []
    assert output(host, f"Test-Path -LiteralPath '{DISK}'") == [True]


@pytest.mark.parametrize(
    ("before", "script", "expected"),
    [
        ("Start-VM -Name 'vm'", "Remove-VM -Name 'vm' -Force", f"InvalidState,{HYPERV}RemoveVM"),
        ("Start-VM -Name 'vm'", "Set-VM -Name 'vm' -ProcessorCount 2", f"InvalidState,{HYPERV}SetVM"),
        ("Start-VM -Name 'vm'", "Add-VMNetworkAdapter -VMName 'vm'", f"InvalidState,{HYPERV}AddVMNetworkAdapter"),
        ("Start-VM -Name 'vm'", f"Remove-Item -LiteralPath '{DISK}'", f"OperationFailed,{ITEMS}RemoveItemCommand"),
        ("Start-VM -Name 'vm'", f"Resize-VHD -Path '{DISK}' -SizeBytes 16MB", f"OperationFailed,{VHD}ResizeVHD"),
        ("Start-VM -Name 'vm'", CONVERT, f"OperationFailed,{VHD}ConvertVHD"),
        ("", "Suspend-VM -Name 'vm'", f"InvalidState,{HYPERV}SuspendVM"),
        ("", "Resume-VM -Name 'vm'", f"InvalidState,{HYPERV}ResumeVM"),
        ("", "Restart-VM -Name 'vm' -Force", f"InvalidState,{HYPERV}RestartVM"),
        ("", "Set-VM -Name 'vm' -MemoryStartupBytes 33MB", f"InvalidParameter,{HYPERV}SetVM"),
        ("", f"New-VHD -Path '{DISK}' -SizeBytes 1MB", f"OperationFailed,{VHD}NewVHD"),
        ("", "New-VHD -Path 'C:\\a.vhdx' -SizeBytes 1000", f"InvalidParameter,{VHD}NewVHD"),
        ("", "New-VHD -Path 'C:\\a\\..\\b.vhdx' -SizeBytes 1MB", f"InvalidParameter,{VHD}NewVHD"),
        ("", "New-VHD -Path 'a.vhdx' -SizeBytes 1MB", f"InvalidParameter,{VHD}NewVHD"),
        ("", "Get-VHD -Path 'C:\\nowhere.vhdx'", f"PathNotFound,{VHD}GetVHD"),
        ("", f"Add-VMHardDiskDrive -VMName 'vm' -Path '{DISK}'", f"OperationFailed,{HYPERV}AddVMHardDiskDrive"),
        ("", "Connect-VMNetworkAdapter -VMName 'vm' -SwitchName 'x'",
         f"InvalidParameter,{HYPERV}ConnectVMNetworkAdapter"),
        ("", "Set-VMComPort -VMName 'vm' -Number 3 -Path '\\\\.\\pipe\\x'", f"InvalidParameter,{HYPERV}SetVMComPort"),
        ("", "Get-ChildItem -LiteralPath 'C:\\nowhere'", f"PathNotFound,{ITEMS}GetChildItemCommand"),
        ("", "Get-VMReplication -VMName 'vm'", f"InvalidState,{HYPERV}GetVMReplication"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(host: Emulator, before: str, script: str, expected: str) -> None:
    output(host, MACHINE)
    output(host, before)
    assert error(host, script) == expected


def test_disks_have_places_and_ide_is_not_hot(host: Emulator) -> None:
    output(host, MACHINE)
    output(host, "New-VHD -Path 'C:\\disks\\b.vhdx' -SizeBytes 1MB; New-VHD -Path 'C:\\disks\\c.vhdx' -SizeBytes 1MB")
    output(host, "Start-VM -Name 'vm'")
    assert (
        error(host, "Add-VMHardDiskDrive -VMName 'vm' -Path 'C:\\disks\\b.vhdx'")
        == f"InvalidState,{HYPERV}AddVMHardDiskDrive"
    )
    output(host, "Add-VMHardDiskDrive -VMName 'vm' -ControllerType 'SCSI' -Path 'C:\\disks\\b.vhdx'")
    output(
        host, "Add-VMHardDiskDrive -VMName 'vm' -ControllerType 'SCSI' -ControllerLocation 5 -Path 'C:\\disks\\c.vhdx'"
    )
    places = output(host, "Get-VMHardDiskDrive -VMName 'vm' | Select-Object Path,ControllerLocation")
    assert [(item["Path"], item["ControllerLocation"]) for item in places] == [
        (DISK, 0),
        ("C:\\disks\\b.vhdx", 0),
        ("C:\\disks\\c.vhdx", 5),
    ]
    output(host, "Resize-VHD -Path 'C:\\disks\\b.vhdx' -SizeBytes 2MB")
    assert output(host, "Get-VHD -Path 'C:\\disks\\b.vhdx' | Select-Object Size,Attached") == [
        {"Size": 2 << 20, "Attached": True}
    ]
    output(host, "Get-VMHardDiskDrive -VMName 'vm' -ControllerType 'SCSI' | Remove-VMHardDiskDrive")
    assert len(output(host, "Get-VMHardDiskDrive -VMName 'vm'")) == 1


def test_a_new_machine_has_a_card_and_switches_hold_cards(host: Emulator) -> None:
    output(host, "New-VMSwitch -Name 'x.net' -SwitchType 'Private'; New-VM -Name 'vm' -NoVHD")
    assert output(host, "Get-VMNetworkAdapter -VMName 'vm' | Select-Object Name,Connected") == [
        {"Name": "Network Adapter", "Connected": False}
    ]
    output(host, "Get-VMNetworkAdapter -VMName 'vm' | Connect-VMNetworkAdapter -SwitchName 'x.net'")
    output(host, "Set-VMNetworkAdapter -VMName 'vm' -StaticMacAddress '525400000001'")
    assert error(host, "Remove-VMSwitch -Name 'x.net' -Force") == f"InvalidState,{HYPERV}RemoveVMSwitch"
    output(host, "Start-VM -Name 'vm'")
    assert [nic.mac for nic in host.host.backend.host.machine("vm").nics] == ["52:54:00:00:00:01"]
    with pytest.raises(Unsupported, match="of a machine that runs"):
        outcome(host, "Disconnect-VMNetworkAdapter -VMName 'vm'")
    output(
        host,
        "Stop-VM -Name 'vm' -TurnOff -Force; Disconnect-VMNetworkAdapter -VMName 'vm'; "
        "Remove-VMSwitch -Name 'x.net' -Force",
    )
    assert error(host, "Get-VMSwitch -Name 'x.net'") == f"InvalidParameter,{HYPERV}GetVMSwitch"


def chain(host: Emulator) -> list[str]:
    """Kinds of the files of the machine's disk, the topmost first."""
    [drive] = output(host, "Get-VMHardDiskDrive -VMName 'vm' | Select-Object Path")
    path, found = str(drive["Path"]), []
    while path:
        [disk] = output(host, f"Get-VHD -Path '{path}' | Select-Object VhdType,ParentPath")
        found.append(disk["VhdType"].name)
        path = disk["ParentPath"]
    return found


@pytest.mark.parametrize("running", [True, False])
def test_checkpoints_freeze_layers_and_removal_merges_them(host: Emulator, running: bool) -> None:
    output(host, MACHINE)
    if running:
        output(host, "Start-VM -Name 'vm'")
    for name in "abc":
        output(host, f"Checkpoint-VM -Name 'vm' -SnapshotName '{name}'")
    assert chain(host) == ["Differencing"] * 3 + ["Dynamic"]
    parents = output(host, "Get-VMSnapshot -VMName 'vm' | Select-Object Name,ParentSnapshotName")
    assert [(item["Name"], item["ParentSnapshotName"]) for item in parents] == [("a", None), ("b", "a"), ("c", "b")]
    output(host, "Remove-VMSnapshot -VMName 'vm' -Name 'b'")
    assert chain(host) == ["Differencing"] * 2 + ["Dynamic"]
    assert output(host, "Get-VMSnapshot -VMName 'vm' -Name 'c' | ForEach-Object { $_.ParentSnapshotName }") == ["a"]
    output(host, "Remove-VMSnapshot -VMName 'vm' -Name 'c'; Remove-VMSnapshot -VMName 'vm' -Name 'a'")
    assert chain(host) == ["Dynamic"]
    assert len(host.host.backend.host.disks()) == 1, "no layer is left"
    assert output(host, "Get-VMSnapshot -VMName 'vm'") == []


def test_a_machine_returns_to_a_checkpoint_and_branches_are_not_guessed_at(host: Emulator) -> None:
    output(
        host,
        f"{MACHINE}; Start-VM -Name 'vm'; Checkpoint-VM -Name 'vm' -SnapshotName 'a'; "
        "Checkpoint-VM -Name 'vm' -SnapshotName 'b'",
    )
    assert error(host, "Restore-VMSnapshot -VMName 'vm' -Name 'a'") == f"InvalidOperation,{HYPERV}RestoreVMSnapshot"
    output(host, "Restore-VMSnapshot -VMName 'vm' -Name 'a' -Confirm:$false")
    assert state(host) == "Off"
    assert chain(host) == ["Differencing", "Dynamic"]
    with pytest.raises(Unsupported, match="several branches"):
        outcome(host, "Remove-VMSnapshot -VMName 'vm' -Name 'a'")
    output(host, "Remove-VMSnapshot -VMName 'vm' -Name 'b'; Remove-VMSnapshot -VMName 'vm' -Name 'a'")
    assert chain(host) == ["Dynamic"]


def test_a_checkpoint_with_memory_is_not_emulated(host: Emulator) -> None:
    output(
        host, f"{MACHINE}; Set-VM -Name 'vm' -CheckpointType 'Standard'; Checkpoint-VM -Name 'vm'; Start-VM -Name 'vm'"
    )
    with pytest.raises(Unsupported, match="memory"):
        outcome(host, "Checkpoint-VM -Name 'vm'")
    output(host, "Stop-VM -Name 'vm' -TurnOff -Force; Set-VM -Name 'vm' -CheckpointType 'Disabled'")
    assert error(host, "Checkpoint-VM -Name 'vm'") == f"InvalidState,{HYPERV}CheckpointVM"


def test_nobody_in_a_guest_answers_unless_a_test_says_so(host: Emulator) -> None:
    output(host, f"{MACHINE}; Start-VM -Name 'vm'")
    exchange = "Get-VMIntegrationService -VMName 'vm' -Name 'Key*' | ForEach-Object { $_.PrimaryStatusDescription }"
    assert output(host, exchange) == ["No Contact"]
    host.host.told.addresses["vm"] = ("10.1.2.3", "fe80::1")
    assert output(host, exchange) == ["OK"]
    assert output(host, "Get-VMNetworkAdapter -VMName 'vm' | ForEach-Object { $_.IPAddresses }") == [
        "10.1.2.3",
        "fe80::1",
    ]


def test_files_stay_in_the_exchange_folder(host: Emulator) -> None:
    (host.host.files.exchange / "a.iso").write_bytes(b"seed")
    output(
        host,
        "Copy-Item -LiteralPath 'C:\\recovery-lab\\exchange\\a.iso' -Destination 'C:\\recovery-lab\\x\\seeds\\a.iso'",
    )
    assert output(host, "Test-Path -LiteralPath 'c:\\RECOVERY-LAB\\x\\seeds\\A.iso'") == [True]
    (host.host.files.exchange.parent / "secret").write_bytes(b"x")
    for path in ("C:\\recovery-lab\\exchange\\..\\secret", "C:\\recovery-lab\\exchange\\../secret"):
        assert output(host, f"Test-Path -LiteralPath '{path}'") == [False]
    output(host, "Remove-Item -LiteralPath 'C:\\recovery-lab\\x\\seeds\\a.iso'")
    assert (host.host.files.exchange / "a.iso").exists()


def test_a_console_is_the_backends_and_is_never_deleted_or_written(host: Emulator, tmp_path: Path) -> None:
    """The file of a machine without QEMU is /dev/null: as root it went with the machine once."""
    real = tmp_path / "console"
    real.write_bytes(b"BOOTED")
    host.host.backend.host.console_log = lambda _name: real  # type: ignore[method-assign]
    notes = '{"recovery-lab":{"lab":"x","machine":"vm","serials":{}}}'
    output(host, f"{MACHINE}; Set-VM -Name 'vm' -Notes '{notes}'; Set-VMComPort -VMName 'vm' -Number 1 -Path '{PIPE}'")
    output(host, "Start-VM -Name 'vm'")
    output(host, f"Copy-Item -LiteralPath '{CONSOLE}' -Destination 'C:\\recovery-lab\\exchange\\console'")
    assert (host.host.files.exchange / "console").read_bytes() == b"BOOTED"
    output(host, f"Copy-Item -LiteralPath 'C:\\recovery-lab\\exchange\\console' -Destination '{CONSOLE}'")
    output(host, f"Remove-Item -LiteralPath '{CONSOLE}'; Stop-VM -Name 'vm' -TurnOff -Force; Start-VM -Name 'vm'")
    assert real.read_bytes() == b"BOOTED"


def test_a_test_makes_a_cmdlet_fail_or_slow(host: Emulator) -> None:
    injected = PowerShellError("injected", f"ObjectInUse,{HYPERV}StartVM")
    host.faults.next("Start-VM", Fail(injected), Delay(0.01))
    output(host, MACHINE)
    assert error(host, "Start-VM -Name 'vm'") == injected.fqid
    output(host, "Start-VM -Name 'vm'")
    assert state(host) == "Running"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Emulator, Emulator]]:
    """A primary host and a Replica server, the machine "vm" on the first."""
    with emulator(tmp_path / "a", "HV01") as primary, emulator(tmp_path / "b", "HV02") as replica:
        primary.host.link(replica.host)
        output(primary, MACHINE)
        yield primary, replica


ENABLE = (
    "Enable-VMReplication -VMName 'vm' -ReplicaServerName 'HV02' -ReplicaServerPort 443 "
    "-AuthenticationType 'Certificate' -CertificateThumbprint 'AB' -ReplicationFrequencySec 30 -RecoveryHistory 4"
)
SERVER = "Set-VMReplicationServer -ReplicationEnabled $true -AllowedAuthenticationType 'Certificate' -Force"
ALLOW = (
    "New-VMReplicationAuthorizationEntry -AllowedPrimaryServer 'HV01' -ReplicaStorageLocation 'D:\\r' -TrustGroup 'g'"
)


def states(*hosts: Emulator) -> list[tuple[str, str]]:
    query = "Get-VMReplication | ForEach-Object { @{m=[string]$_.ReplicationMode;s=[string]$_.ReplicationState} }"
    return [(item["m"], item["s"]) for host in hosts for item in output(host, query)]


def replicating(primary: Emulator, replica: Emulator) -> None:
    output(replica, f"{SERVER}; {ALLOW}")
    output(primary, f"{ENABLE}; Start-VMInitialReplication -VMName 'vm'")
    primary.host.copied("vm")


def test_a_replica_server_takes_whom_it_knows(pair: tuple[Emulator, Emulator]) -> None:
    primary, replica = pair
    refused = f"OperationFailed,{HYPERV}EnableVMReplication"
    where = "-ReplicaServerName 'HV02' -ReplicaServerPort 443 -AuthenticationType 'Certificate'"
    connection = f"Test-VMReplicationConnection {where}"
    assert error(primary, ENABLE) == refused
    output(replica, SERVER)
    assert error(primary, ENABLE) == refused
    assert error(primary, connection) == f"OperationFailed,{HYPERV}TestVMReplicationConnection"
    output(replica, ALLOW)
    output(primary, connection)
    assert error(primary, ENABLE.replace("'Certificate' -C", "'Kerberos' -C")) == refused
    assert error(primary, ENABLE.replace("Sec 30", "Sec 31")) == f"InvalidParameter,{HYPERV}EnableVMReplication"
    output(primary, ENABLE)
    assert states(primary, replica) == [
        ("Primary", "ReadyForInitialReplication"),
        ("Replica", "WaitingForInitialReplication"),
    ]
    assert error(primary, ENABLE) == f"InvalidState,{HYPERV}EnableVMReplication"
    assert output(
        replica, "Get-VMReplicationServer | ForEach-Object { $_.AuthorizationEntries } | Select-Object TrustGroup"
    ) == [{"TrustGroup": "g"}]
    output(replica, "Remove-VMReplicationAuthorizationEntry -AllowedPrimaryServer 'HV01'")
    assert output(replica, "Get-VMReplicationAuthorizationEntry") == []


def test_planned_failover_and_the_way_back(pair: tuple[Emulator, Emulator]) -> None:
    primary, replica = pair
    replicating(primary, replica)
    assert states(*pair) == [("Primary", "Replicating"), ("Replica", "Replicating")]
    prepare, fail_over = (f"Start-VMFailover -VMName 'vm'{more} -Confirm:$false" for more in (" -Prepare", ""))
    output(primary, "Start-VM -Name 'vm'")
    assert error(primary, prepare) == f"InvalidState,{HYPERV}StartVMFailover"
    output(primary, "Stop-VM -Name 'vm' -TurnOff -Force")
    assert error(replica, "Start-VM -Name 'vm'") == f"InvalidState,{HYPERV}StartVM"
    output(primary, prepare)
    output(replica, fail_over)
    assert states(*pair) == [("Primary", "PreparedForFailover"), ("Replica", "FailedOverWaitingCompletion")]
    output(replica, "Start-VM -Name 'vm'; Set-VMReplication -VMName 'vm' -Reverse")
    assert states(*pair) == [("Replica", "Replicating"), ("Primary", "Replicating")]


def test_unplanned_failover_is_completed_or_taken_back(pair: tuple[Emulator, Emulator]) -> None:
    primary, replica = pair
    replicating(primary, replica)
    fail_over = "Start-VMFailover -VMName 'vm' -Confirm:$false"
    output(replica, f"{fail_over}; Stop-VMFailover -VMName 'vm'")
    assert states(replica) == [("Replica", "Replicating")]
    output(replica, f"{fail_over}; Complete-VMFailover -VMName 'vm' -Confirm:$false")
    assert states(*pair) == [("Primary", "Replicating"), ("Replica", "FailedOver")]
    with pytest.raises(Unsupported, match="after an unplanned failover"):
        outcome(replica, "Set-VMReplication -VMName 'vm' -Reverse")


def test_a_test_failover_makes_a_machine_of_its_own(pair: tuple[Emulator, Emulator]) -> None:
    primary, replica = pair
    replicating(primary, replica)
    output(replica, "Start-VMFailover -VMName 'vm' -AsTest -Confirm:$false")
    assert output(replica, "Get-VM -Name 'vm - Test' | ForEach-Object { [string]$_.ReplicationMode }") == [
        "TestReplica"
    ]
    output(replica, "Stop-VMFailover -VMName 'vm'")
    assert states(replica) == [("Replica", "Replicating")]


def test_replication_is_suspended_measured_and_removed(pair: tuple[Emulator, Emulator]) -> None:
    primary, replica = pair
    replicating(primary, replica)
    output(primary, "Suspend-VMReplication -VMName 'vm'")
    assert states(primary) == [("Primary", "Suspended")]
    assert error(primary, "Suspend-VMReplication -VMName 'vm'") == f"InvalidState,{HYPERV}SuspendVMReplication"
    output(primary, "Resume-VMReplication -VMName 'vm'")
    primary.host.told.health["vm"] = "Critical"
    assert output(primary, "Measure-VMReplication -VMName 'vm' | ForEach-Object { [string]$_.ReplicationHealth }") == [
        "Critical"
    ]
    output(primary, "Remove-VMReplication -VMName 'vm'")
    assert states(*pair) == [("Replica", "Replicating")]
    with pytest.raises(Unsupported, match="-Resynchronize"):
        outcome(replica, "Resume-VMReplication -VMName 'vm' -Resynchronize")
