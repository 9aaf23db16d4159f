"""Evidence that others check: nothing that was changed, removed or added stays hidden."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from sealed_run import finish, sealed_run
from tamper import CONTENTS, FILES, FOUND_UNDER_ANY_KEY, SEAL

from lab.errors import BadInput
from reports.bundle.envelope import NoEnvelope, canonical, read, root_of, sign
from reports.bundle.keys import expected_fingerprint, fingerprint, public_pem, signing_key
from reports.bundle.merkle import leaf_hash, tree_head
from reports.bundle.resealing import ChangedSinceSealed, certify_again
from reports.bundle.seal import SEAL_FILE, UnsealableFile, files_in
from reports.bundle.verify import check

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PINNED = fingerprint(KEY.public_key())


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sealed_run(tmp_path_factory.mktemp("original"), KEY)


@pytest.fixture
def run_dir(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / original.name))


def test_what_was_not_touched_is_genuine(run_dir: Path) -> None:
    checked = check(run_dir, PINNED)
    assert checked.genuine, checked.findings
    assert (checked.key, checked.pinned, checked.html_recomputed) == (PINNED, True, True)
    assert (checked.run, checked.verdict) == (run_dir.name, "fail")


@pytest.mark.parametrize("seed", range(100))
def test_a_hundred_tamperings_are_found_and_named(run_dir: Path, seed: int) -> None:
    rng = random.Random(seed)
    tamper = (*FILES, *CONTENTS)[seed % (len(FILES) + len(CONTENTS))]
    where = tamper(run_dir, rng)
    checked = check(run_dir, PINNED)
    assert not checked.genuine
    assert where in {finding.where for finding in checked.findings}, (tamper.__name__, checked.findings)


@pytest.mark.parametrize("seed", range(12))
def test_a_tree_that_was_hashed_again_does_not_have_the_signature(run_dir: Path, seed: int) -> None:
    rng = random.Random(seed)
    old = json.loads((run_dir / SEAL).read_text())
    (*FILES, *CONTENTS)[seed](run_dir, rng)
    finish_hashes_only(run_dir, old)
    checked = check(run_dir)
    assert any(finding.where == SEAL and "signature" in finding.what for finding in checked.findings), checked.findings


def finish_hashes_only(run_dir: Path, old: dict) -> None:
    """Write a list of the files as they are now, under the signature of the list before."""
    statement = json.loads(base64.b64decode(old["payload"]))
    files = files_in(run_dir)
    statement["subject"] = [{"name": file.path, "digest": {"sha256": file.sha256}} for file in files]
    statement["predicate"] |= {"merkle_root": root_of(files), "sizes": [file.size for file in files]}
    payload = base64.b64encode(canonical(statement)).decode()
    (run_dir / SEAL).write_bytes(canonical({**old, "payload": payload}) + b"\n")


@pytest.mark.parametrize("tamper", FOUND_UNDER_ANY_KEY, ids=lambda tamper: tamper.__name__)
def test_another_signature_does_not_hide_what_contradicts_the_raw_data(run_dir: Path, tamper) -> None:
    tamper(run_dir, random.Random(1))
    certificates = [(run_dir / name).read_bytes() for name in ("certificate.json", "certificate.html")]
    finish(run_dir, OTHER)
    for name, content in zip(("certificate.json", "certificate.html"), certificates, strict=True):
        (run_dir / name).write_bytes(content)
    seal_as_it_is(run_dir, OTHER)
    unpinned, pinned = check(run_dir), check(run_dir, PINNED)
    assert not unpinned.genuine
    assert not any("signature" in finding.what for finding in unpinned.findings)
    assert any("signed with key" in finding.what for finding in pinned.findings)


def seal_as_it_is(run_dir: Path, key: Ed25519PrivateKey) -> None:
    about = read((run_dir / SEAL).read_bytes()).statement.about
    (run_dir / SEAL).write_bytes(sign(files_in(run_dir), about, key))


def test_the_removed_test_is_named(run_dir: Path) -> None:
    from tamper import remove_a_test

    remove_a_test(run_dir, random.Random(0))
    findings = check(run_dir).findings
    assert any(
        finding.where == "junit.xml" and "which the ledger does not know" in finding.what for finding in findings
    )


def test_the_edited_verdict_is_named(run_dir: Path) -> None:
    path = run_dir / "certificate.json"
    path.write_text(path.read_text().replace('"verdict": "fail"', '"verdict": "pass"'))
    findings = check(run_dir).findings
    assert any('says "pass", the ledger gives "fail"' in finding.what for finding in findings), findings


def test_a_bundle_of_another_version_is_recomputed_in_what_versions_share(run_dir: Path) -> None:
    about = {**read((run_dir / SEAL).read_bytes()).statement.about, "reports": "0" * 64}
    path = run_dir / "certificate.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "of_that_version": 1}))
    (run_dir / SEAL).write_bytes(sign(files_in(run_dir), about, KEY))
    checked = check(run_dir)
    assert (checked.genuine, checked.html_recomputed) == (True, False)
    path.write_text(path.read_text().replace('"status": "fail"', '"status": "pass"'))
    (run_dir / SEAL).write_bytes(sign(files_in(run_dir), about, KEY))
    assert any("LAB-RPO" in finding.what for finding in check(run_dir).findings)


def as_another_version(run_dir: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Seal a certificate with what another version of the lab writes differently."""
    about = {**read((run_dir / SEAL).read_bytes()).statement.about, "reports": "0" * 64}
    path = run_dir / "certificate.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    (run_dir / SEAL).write_bytes(sign(files_in(run_dir), about, KEY))


def test_rows_of_a_version_with_other_fields_are_compared_in_what_both_have(run_dir: Path) -> None:
    def older(document: dict[str, Any]) -> None:
        for row in document["requirements"]:
            del row["not_tested"]
            row["in_scope"] = True
        document["requirements"].append({"id": "H2A-IR", "status": "pass", "in_scope": False})
        for row in document["tests"]:
            row["of_that_version"] = 1

    as_another_version(run_dir, older)
    assert check(run_dir).findings == ()


def no_status(document: dict[str, Any]) -> None:
    for row in document["requirements"]:
        row.pop("status", None)


def better_status(document: dict[str, Any]) -> None:
    for row in document["requirements"]:
        row |= {"status": "pass", "in_scope": True}


def hidden_failures(document: dict[str, Any]) -> None:
    for row in document["requirements"]:
        row["in_scope"] = row["status"] != "fail"


def other_scenario(document: dict[str, Any]) -> None:
    document["scenarios"] = {"V2A": document["scenarios"]["P2S"]}


@pytest.mark.parametrize("change", [no_status, better_status, hidden_failures, other_scenario])
def test_calling_it_another_version_hides_nothing(run_dir: Path, change: Callable[[dict[str, Any]], None]) -> None:
    as_another_version(run_dir, change)
    assert not check(run_dir).genuine


def test_a_run_without_a_seal_is_not_genuine_and_another_folder_is_bad_input(run_dir: Path, tmp_path: Path) -> None:
    (run_dir / SEAL_FILE).unlink()
    assert check(run_dir).findings[0].where == SEAL_FILE
    with pytest.raises(BadInput, match="not the evidence of a run"):
        check(tmp_path)


def test_a_link_is_not_sealed(run_dir: Path) -> None:
    (run_dir / "link").symlink_to("/etc/passwd")
    with pytest.raises(UnsealableFile):
        files_in(run_dir)
    assert not check(run_dir).genuine


def test_a_report_is_made_again_but_never_vouches_for_changed_files(run_dir: Path) -> None:
    (run_dir / "certificate.html").write_text("gone")
    certify_again(run_dir, lambda: KEY)
    assert check(run_dir, PINNED).genuine
    console = run_dir / "machines" / "app1" / "console.log"
    console.write_text("nothing happened")
    with pytest.raises(ChangedSinceSealed):
        certify_again(run_dir, lambda: KEY)


def test_the_key_is_made_once_for_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECOVERY_LAB_EVIDENCE_KEY", raising=False)
    made = fingerprint(signing_key(tmp_path).public_key())
    file = tmp_path / "keys" / "evidence.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert fingerprint(signing_key(tmp_path).public_key()) == made == expected_fingerprint(str(file))
    monkeypatch.setenv("RECOVERY_LAB_EVIDENCE_KEY", str(file))
    assert fingerprint(signing_key(tmp_path / "elsewhere").public_key()) == made
    assert not (tmp_path / "elsewhere").exists()
    monkeypatch.setenv("RECOVERY_LAB_EVIDENCE_KEY", str(tmp_path / "none.pem"))
    with pytest.raises(BadInput):
        signing_key(tmp_path)


def test_a_key_is_pinned_by_fingerprint_or_file(tmp_path: Path) -> None:
    file = tmp_path / "public.pem"
    file.write_text(public_pem(KEY.public_key()))
    assert expected_fingerprint(str(file)) == expected_fingerprint(PINNED.upper()) == PINNED
    for wrong in ("abc", str(tmp_path), str(tmp_path / "none")):
        with pytest.raises(BadInput):
            expected_fingerprint(wrong)


# The first values are those of the test vectors for RFC 6962 trees that log servers publish: no leaf, one empty leaf.
def test_the_tree_is_that_of_rfc_6962() -> None:
    assert tree_head([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert tree_head([b""]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    one, two, three = (leaf_hash(leaf) for leaf in (b"1", b"2", b"3"))
    pair = hashlib.sha256(b"\x01" + one + two).digest()
    assert tree_head([b"1", b"2", b"3"]) == hashlib.sha256(b"\x01" + pair + three).digest()


@given(st.lists(st.binary(max_size=8), max_size=20), st.lists(st.binary(max_size=8), max_size=20))
def test_different_leaves_have_different_heads(one: list[bytes], two: list[bytes]) -> None:
    assert (tree_head(one) == tree_head(two)) == (one == two)


def test_every_byte_of_the_seal_counts(run_dir: Path) -> None:
    content = (run_dir / SEAL).read_bytes()
    rng = random.Random(7)
    for place in rng.sample(range(len(content)), 60):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        with contextlib.suppress(NoEnvelope):
            assert not read(bytes(changed)).genuine
    with pytest.raises(NoEnvelope):
        read(content + b" ")
