import pytest
from latencies import MORNING, NOON, entry, identity, network_entry, signature

from toolchain.errors import DataError, EnvironmentMissing
from toolchain.store.carried import CarriedLatencies
from toolchain.store.json_lines import to_lines
from toolchain.store.latency_store import LatencyStore

HERE, THERE = identity(), identity("another processor")


def exported(folder, *entries):
    path = folder / "latencies.jsonl"
    path.write_text("".join(f"{line}\n" for line in to_lines(entries)))
    return path


@pytest.fixture
def own(tmp_path):
    with LatencyStore(tmp_path / "own.sqlite", print) as store:
        yield store


def test_another_machines_latencies_answer_and_are_remembered_with_their_dates(tmp_path, own):
    file = exported(
        tmp_path,
        entry(32, device="another processor", created_at=NOON),
        entry(64, device="another processor"),
        entry(96, device="another processor"),
    )
    carried = CarriedLatencies.read(file, HERE, own)
    assert carried.origin is None
    assert carried.get(HERE, signature(32)).latency.identity == THERE
    assert carried.get(HERE, signature(64)) == entry(64, device="another processor")
    origin = carried.origin
    assert (origin.entries, origin.oldest, origin.newest, origin.identity) == (2, MORNING, NOON, THERE)


def test_what_another_machine_did_not_time_is_not_timed_here(tmp_path, own):
    own.put(entry(32))
    carried = CarriedLatencies.read(exported(tmp_path, entry(64, device="another processor")), HERE, own)
    with pytest.raises(EnvironmentMissing, match=r"1 of 1 latencies are missing, .* 32 to 128, .*another processor"):
        carried.get(HERE, signature(32))
    with pytest.raises(EnvironmentMissing, match="2 of 3 latencies are missing"):
        carried.require([signature(32), signature(64), signature(96)])


def test_what_this_machine_did_not_time_there_is_timed_here_and_kept(tmp_path, own):
    carried = CarriedLatencies.read(exported(tmp_path, entry(64)), HERE, own)
    assert carried.get(HERE, signature(32)) is None
    carried.put(entry(32))
    assert carried.get(HERE, signature(32)) == own.get(HERE, signature(32)) == entry(32)
    carried.require([signature(96)])
    assert carried.origin is None


def test_of_several_machines_this_one_is_taken(tmp_path, own):
    file = exported(tmp_path, entry(64, device="another processor", median_ms=9), entry(64))
    assert CarriedLatencies.read(file, HERE, own).get(HERE, signature()) == entry(64)


def test_a_choice_between_other_machines_is_not_made(tmp_path, own):
    file = exported(tmp_path, entry(64, device="one"), entry(64, device="two"))
    with pytest.raises(DataError, match=r"latencies of 2 machines for target onnxruntime \(one, .*; two, "):
        CarriedLatencies.read(file, HERE, own)


def test_a_file_without_the_target_is_of_no_use(tmp_path, own):
    with pytest.raises(EnvironmentMissing, match="holds no latencies for target onnxruntime"):
        CarriedLatencies.read(exported(tmp_path), HERE, own)


def test_another_machines_network_is_taken_from_its_file_alone(tmp_path, own):
    own.put(network_entry())
    file = exported(tmp_path, entry(64, device="another processor"))
    carried = CarriedLatencies.read(file, HERE, own)
    assert carried.network(HERE, "a network") is None
    assert not carried.profiles_here
    carried.put(network_entry("made here"))
    assert carried.profiles_here
    assert own.network(HERE, "made here") is None
    file = exported(tmp_path, network_entry(device="another processor", created_at=NOON))
    carried = CarriedLatencies.read(file, HERE, own)
    assert carried.network(HERE, "a network").identity == THERE
    origin = carried.origin
    assert (origin.entries, origin.profiled, origin.own, origin.newest) == (0, True, 0, NOON)


def test_what_this_machine_knows_beside_its_file_is_counted(tmp_path, own):
    own.merge([network_entry(), entry(32)])
    carried = CarriedLatencies.read(exported(tmp_path, entry(64)), HERE, own)
    assert carried.network(HERE, "a network") == network_entry()
    for _ in range(2):
        assert carried.get(HERE, signature(32)) == entry(32)
    carried.put(entry(32, created_at=NOON))
    carried.get(HERE, signature(64))
    origin = carried.origin
    assert (origin.entries, origin.profiled, origin.own) == (1, False, 2)
