"""Class names in all the forms in which people keep them."""

from __future__ import annotations

import json

import pytest

from cnnviz.errors import UsageError
from cnnviz.labels.classes import Classes
from cnnviz.labels.label_files import read_labels
from cnnviz.models.config import find_config

FISH = ("tench", "goldfish", "shark")
IDS = ("n01440764", "n01443537", "n01484850")


@pytest.fixture
def read(tmp_path):
    def call(content, name="names.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_labels(path)

    return call


@pytest.mark.parametrize(
    "line",
    [
        *("{i}:{name}", "{i}: {name}", "{i} {name}", "{i},{name}", "{i}\t{name}", "{i};{name}"),
        *("{i}. {name}", "{i}) {name}", "[{i}] {name}", "{i} - {name}", "{i}={name}", "{i}|{name}"),
        *("{i}：{name}", '"{i}","{name}"', "{i}  {name}", "{i:03d} {name}"),
        *("{name},{i}", "{name}:{i}", "{name}\t{i}", "{name} {i}", "{name}={i}"),
    ],
)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_with_their_own_index_are_ordered_by_it(read, line, order, end):
    lines = [line.format(i=i, name=FISH[i]) for i in order]
    assert read(end.join([*lines, ""])) == FISH
    assert read(f"\ufeff{end.join(lines)}") == FISH


@pytest.mark.parametrize(
    "line",
    [
        *("{id} {name}", "{id}\t{name}", "{id},{name}", "{id}: {name}", "{id}-{name}"),
        *("{id} {i} {name}", "{i} {id} {name}", "{i},{id},{name}"),
    ],
)
def test_wordnet_s_numbers_are_kept_apart(read, line):
    lines = [line.format(i=i, id=IDS[i], name=FISH[i]) for i in range(3)]
    labels = read("\n".join(lines))
    assert labels == FISH
    assert labels.ids == IDS
    assert Classes(labels, 3).find("n01443537") == 1


def test_wordnet_s_numbers_alone_are_the_names(read):
    for content in ("\n".join(IDS), "".join(f"{own} {i}\n" for i, own in enumerate(IDS))):
        labels = read(content)
        assert labels == labels.ids == IDS


@pytest.mark.parametrize(
    "names",
    [
        ("7 up", "3D printer", "101 dalmatians"),
        ("7 up", "3 musketeers", "101 dalmatians"),
        ("20 km/h", "30 km/h", "50 km/h"),
        ("1 star", "2 stars", "3 stars", "4 stars"),
        ("grade 0", "grade 1", "grade 2"),
        ("16:9", "4:3", "1:1"),
        ("background", "1 euro", "2 euro"),
        ("0", "1", "2"),
        ("2", "0", "1"),
        ("tench, Tinca tinca", "goldfish, Carassius auratus"),
        ("[background]", "[cat]"),
        ("n01440764x fish", "n01443537 fish"),
        ("cat: small", "cat: big"),
    ],
)
def test_names_with_numbers_are_names(read, names):
    assert read("\n".join(names)) == names
    assert read("\n".join(names)).ids == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.txt", "{0: 'tench',\n 2: 'shark',\n 1: \"goldfish\"}"),
        ("x.txt", "['tench', 'goldfish', 'shark']"),
        ("x.json", '["tench", "goldfish", "shark"]'),
        ("x.json", '{"0": "tench", "2": "shark", "1": "goldfish"}'),
        ("x.json", '{"tench": 0, "shark": 2, "goldfish": 1}'),
        ("x.txt", '{"tench": 0, "shark": 2, "goldfish": 1}'),
        ("x.json", '{"num_labels": 3, "id2label": {"0": "tench", "1": "goldfish", "2": "shark"}}'),
        ("x.json", '{"label2id": {"tench": 0, "goldfish": 1, "shark": 2}}'),
        ("x.json", '{"version": 1, "classes": ["tench", "goldfish", "shark"]}'),
        ("x.json", '{"class_to_idx": {"tench": 0, "shark": 2, "goldfish": 1}}'),
        ("x.json", '{"anything": ["tench", "goldfish", "shark"]}'),
        (
            "x.json",
            '[{"id": 0, "name": "tench"}, {"id": 2, "name": "shark"}, '
            '{"name": "goldfish", "id": 1}]',
        ),
        ("x.json", '[[0, "tench"], [2, "shark"], [1, "goldfish"]]'),
        (
            "x.json",
            '{"0": {"label": "tench"}, "1": {"label": "goldfish"}, "2": {"label": "shark"}}',
        ),
        (
            "x.jsonl",
            '{"id": 0, "label": "tench"}\n{"id": 2, "label": "shark"}\n'
            '{"id": 1, "label": "goldfish"}\n',
        ),
        ("x.yaml", "0: tench\n1: goldfish\n2: shark\n"),
        ("x.yml", "- tench\n- goldfish\n- shark\n"),
        ("x.yaml", "nc: 3\npath: ../fish\nnames:\n  0: tench\n  2: shark\n  1: goldfish\n"),
        ("x.csv", "index,name\n0,tench\n2,shark\n1,goldfish\n"),
        ("x.csv", "0,tench\n2,shark\n1,goldfish\n"),
        ("x.csv", "tench;0\nshark;2\ngoldfish;1\n"),
        ("x.csv", "name\ntench\ngoldfish\nshark\n"),
        ("x.csv", "tench\ngoldfish\nshark\n"),
        ("x.csv", ",label\n0,tench\n1,goldfish\n2,shark\n"),
        ("x.csv", ",0\n0,tench\n1,goldfish\n2,shark\n"),
        ("x.csv", "idx,species,name\n0.0,x,tench\n1.0,x,goldfish\n2.0,x,shark\n"),
        ("x.csv", "name,label\ntench,0\nshark,2\ngoldfish,1\n"),
        ("x.csv", "label,class\n0,tench\n2,shark\n1,goldfish\n"),
        (
            "x.json",
            '[{"label": 0, "name": "tench"}, {"label": 2, "name": "shark"}, ["goldfish", 1]]',
        ),
        ("x.txt", "0: 'tench',\n2: 'shark',\n1: 'goldfish',\n"),
        ("x.json", '["0: tench", "2: shark", "1: goldfish"]'),
        ("x.tsv", "class_id\tclass_name\n0\ttench\n2\tshark\n1\tgoldfish\n"),
        ("x.txt", "index\tlabel\n0\ttench\n2\tshark\n1\tgoldfish\n"),
        ("x.txt", '"tench"\n"goldfish"\n"shark"\n'),
        ("x.txt", "0: tench\n\n1: goldfish\n2: shark\n"),
    ],
)
def test_lists_and_dictionaries_and_tables(read, name, content):
    labels = read(content, name)
    assert labels == FISH
    assert labels.note == ""
    assert read(content.encode("utf-16"), name) == FISH
    assert read(f"\ufeff{content}".replace("\n", "\r\n"), name) == FISH


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", json.dumps({str(i): [IDS[i], FISH[i]] for i in (2, 0, 1)})),
        ("x.json", json.dumps({IDS[i]: FISH[i] for i in range(3)})),
        ("x.csv", "".join(f"{i},{IDS[i]},{FISH[i]}\n" for i in (2, 0, 1))),
        ("x.csv", "wnid;id;words\n" + "".join(f"{IDS[i]};{i};{FISH[i]}\n" for i in (2, 0, 1))),
        ("x.csv", "".join(f"{IDS[i]},{FISH[i]}\n" for i in range(3))),
    ],
)
def test_wordnet_s_numbers_in_tables_and_dictionaries(read, name, content):
    labels = read(content, name)
    assert (labels, labels.ids) == (FISH, IDS)


def test_commas_in_names(read):
    expected = ("tench, Tinca tinca", "goldfish", "shark")
    for name, content in (
        ("x.csv", '0,"tench, Tinca tinca"\n1,goldfish\n2,shark\n'),
        ("x.csv", "0,tench, Tinca tinca\n1,goldfish\n2,shark\n"),
        ("x.csv", '"tench, Tinca tinca"\ngoldfish\nshark\n'),
        ("x.csv", "tench, Tinca tinca\ngoldfish\nshark\n"),
        ("x.txt", "0: tench, Tinca tinca\n1: goldfish\n2: shark\n"),
    ):
        assert read(content, name) == expected, content


def test_names_that_are_titles_elsewhere(read):
    assert read("0,name\n1,class\n", "x.csv") == ("name", "class")
    assert read("class\nlabel\n") == ("class", "label")


def test_folders_that_are_called_by_digits(read):
    """As torchvision sorts them: by their letters, so that 10 comes before 2."""
    assert read('{"0": 0, "1": 1, "10": 2, "2": 3}', "x.json") == ("0", "1", "10", "2")
    assert read("{'3': 0, '8': 1, '1': 2}") == ("3", "8", "1")


def test_yaml_s_truth_values_and_numbers_are_names(read):
    assert read("- yes\n- no\n- 1.0\n- null\n", "x.yaml") == ("yes", "no", "1.0", "null")


def test_indices_from_1_on_are_said(read):
    for name, content in (
        ("x.txt", "1: tench\n3: shark\n2: goldfish\n"),
        ("x.json", '{"1": "tench", "2": "goldfish", "3": "shark"}'),
        ("x.csv", "id,breed\n1,tench\n2,goldfish\n3,shark\n"),
    ):
        labels = read(content, name)
        assert labels == FISH
        assert labels.note == (
            "The class names are numbered from 1; the first is the network's class 0."
        )


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.txt", "0: tench\n2: shark\n", "has no class 1, though its indices go up to 2"),
        ("x.txt", "0 tench\n1 goldfish\n3 shark\n", "has no class 2, though"),
        ("x.txt", "0:a\n0:b\n1:c\n", "has the index 0 twice, for 'a' and 'b'"),
        ("x.csv", "0,tench\n0,shark\n", "has the index 0 twice"),
        ("x.csv", "index,name\n0,tench\n2,shark\n", "has no class 1"),
        ("x.json", '{"0": "tench", "2": "shark"}', "has no class 1"),
        ("x.json", '{"tench": 0, "shark": 0}', "has the index 0 twice, for 'tench' and 'shark'"),
        ("x.json", '{"0": "tench", "0": "shark"}', "has '0' twice"),
        ("x.json", '[{"id": 0, "name": "a"}, {"name": "b"}]', "has no index for 'b'"),
        ("x.json", '{"n01443537": "goldfish", "n01440764": "tench"}', "the class order is unknown"),
        (
            "x.json",
            '{"0": "tench"',
            r"is n(?:ot valid|either) JSON.*Expecting ',' delimiter in line 1",
        ),
        ("x.txt", '{"0": "tench",\n"1"', "is n(?:ot valid|either) JSON"),
        ("x.json", "[" * 100_000, "is n(?:ot valid|either) JSON"),
        ("x.txt", "(" * 100_000, None),
        ("x.json", "{}", "holds no class names"),
        ("x.json", '"tench"', "holds no class names"),
        ("x.json", '["tench", null]', "holds no class names"),
        ("x.json", '["tench", true]', "holds no class names"),
        ("x.json", '["tench", " "]', "has a class without a name"),
        ("x.yaml", "a: &a [x]\nb: *a\n", r"has an alias \(\*name\)"),
        ("x.yaml", "a: [", "is not valid YAML"),
        ("x.txt", b"caf\xe9\n", "is not a UTF-8 text file.*Save it as UTF-8"),
        ("x.txt", b"a\0b\n", "is not a text file"),
    ],
)
def test_what_is_wrong_is_a_sentence(read, name, content, told):
    if told is None:
        assert len(read(content, name)) == 1
        return
    with pytest.raises(UsageError, match=told):
        read(content, name)


def test_a_card_may_tell_names_by_index(tmp_path):
    config = tmp_path / "cnnviz.yaml"
    config.write_text("model: demo\nlabels: {1: dog, 0: cat}\n")
    assert find_config(str(config)).labels == ("cat", "dog")
    config.write_text("model: demo\nlabels: {0: cat, 2: dog}\n")
    with pytest.raises(UsageError, match="a name for every class, by its index from 0 on"):
        find_config(str(config))


@pytest.mark.subprocess
def test_the_command_says_that_names_are_numbered_from_1(cnnviz, tmp_path, write_image):
    write_image(tmp_path / "a.png")
    (tmp_path / "names.txt").write_text("".join(f"{i}: c{i}\n" for i in range(1, 9)))
    status, out, err = cnnviz(
        "explain", "a.png", "-m", "demo", "--labels", "names.txt", "--method", "gradcam",
        "--target", "c2"
    )  # fmt: skip
    assert status == 0
    assert "numbered from 1" in err
    assert "c2 (1)" in out


def test_reads_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffKatze\r\nHund \r\ncrane\r\ncrane\r\n\r\n\r\n".encode())
    assert read_labels(path) == ("Katze", "Hund", "crane", "crane")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"cat\n\ndog\n", "has a blank line 2"),
        (b"\xff\xfe\x00caf\xe9", "not a UTF-8 text file"),
    ],
)
def test_refuses_a_file(tmp_path, content, told):
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=told):
        read_labels(path)


def test_refuses_a_missing_file(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_labels(tmp_path / "none.txt")


def test_signs_that_work_on_a_terminal_are_shown_instead(tmp_path):
    (tmp_path / "names.txt").write_text("cat\x1b[31m\nsnow leopard\ncaf\u00e9\n")
    assert read_labels(tmp_path / "names.txt") == ("cat\\x1b[31m", "snow leopard", "caf\u00e9")


def test_a_file_without_end_is_refused():
    with pytest.raises(UsageError, match="more than 16,777,216 bytes"):
        read_labels("/dev/zero")
