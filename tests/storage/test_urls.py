"""What of a URL is shown, and what it is called."""

from __future__ import annotations

import pytest

from cnnviz.storage.paths import shown_path
from cnnviz.storage.urls import is_remote, names_in, shown_url, without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/a b/cat.jpg", "s3://bucket/a b/cat.jpg"),
        ("https://user:pw@x.org:81/cat.jpg", "https://x.org:81/cat.jpg"),
        ("https://x.org/cat.jpg?X-Amz-Signature=1f&X-Amz-Date=2", "https://x.org/cat.jpg"),
        ("https://x.org/cat.jpg?sv=1&sig=a%2F&se=2&sp=r&st=3", "https://x.org/cat.jpg"),
        ("https://x.org/cat.jpg?Expires=1&Signature=b&Key-Pair-Id=K", "https://x.org/cat.jpg"),
        ("https://x.org/cat.jpg?access_token=abc#part", "https://x.org/cat.jpg"),
        ("https://[x?token=SECRET", "https://[x"),
        ("abfs://container@account.dfs.core.windows.net/x", None),
    ],
)
def test_shows_no_secrets(url, shown):
    assert shown_url(url) == (shown or url)


def test_a_query_that_names_the_file_tells_files_apart():
    first, second = (f"https://x.org/get?id={number}&token=SECRET" for number in (1, 2))
    assert shown_url(first) != shown_url(second)
    assert shown_url(first) == shown_url(first.replace("SECRET", "OTHER"))
    assert shown_url(first).startswith("https://x.org/get?~")
    assert "SECRET" not in shown_url(first)


def test_texts_of_libraries_lose_their_secrets():
    said = "403, message='Forbidden', url='https://u:pw@x.org/a.jpg?sig=SECRET'"
    assert without_secrets(said) == "403, message='Forbidden', url='https://x.org/a.jpg'"


def test_names():
    assert names_in("s3://bucket/a/../b.jpg") == ("bucket", "a", "b.jpg")
    assert names_in("https://x.org/a%20b/c.jpg?id=2") == ("x.org", "a b", "c.jpg")


def test_a_file_of_such_a_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_remote("s3://b/x.jpg")
    (tmp_path / "s3:/b").mkdir(parents=True)
    (tmp_path / "s3:/b/x.jpg").touch()
    assert not is_remote("s3://b/x.jpg")


def test_a_path_is_shown_without_secrets():
    assert shown_path("a/b\n.csv") == "a/b\\n.csv"
    assert shown_path("https://me:pw@x.org/a.csv?X-Amz-Signature=s") == "https://x.org/a.csv"
