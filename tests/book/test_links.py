"""The link check finds what is broken and what would be fetched, and nothing else."""

import links
import pytest

OTHER = '<h1 id="there">Other</h1>'


@pytest.fixture
def book(tmp_path):
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "other.html").write_text(OTHER)
    (tmp_path / "index.html").write_text(OTHER)
    return tmp_path


def complaints(book, html):
    (book / "page.html").write_text(html)
    return list(links.check(book))


@pytest.mark.parametrize(
    "html",
    [
        '<p id="here"><a href="#here">here</a>',
        '<a href="a%20b/other.html#there">another page</a>',
        '<a href="#">the top</a>',
        '<a href=".">a folder</a>',
        '<a href="https://example.org/x#y">out into the web</a>',
        '<a href="mailto:a@example.org">a letter</a>',
        '<img src="data:image/png;base64,AAAA">',
        '<link rel="stylesheet" href="index.html?v=1">',
    ],
)
def test_what_is_fine(book, html):
    assert not complaints(book, html)


@pytest.mark.parametrize(
    ("html", "said"),
    [
        ('<a href="#nowhere">x</a>', "no such thing"),
        ('<a href="a%20b/other.html#nowhere">x</a>', "no such thing"),
        ('<a href="missing.html">x</a>', "no such thing"),
        ('<img src="missing.png">', "no such thing"),
        ('<a href="a%20b">a folder without an index</a>', "no such thing"),
        ('<script src="https://example.org/x.js"></script>', "ship it"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "ship it"),
    ],
)
def test_what_is_not(book, html, said):
    (complaint,) = complaints(book, html)
    assert complaint.startswith("page.html")
    assert said in complaint


def test_the_exit_status_tells(book, tmp_path, capsys):
    assert links.main([str(book)]) == 0
    assert complaints(book, '<a href="missing.html">x</a>')
    assert links.main([str(book)]) == 1
    (tmp_path / "empty").mkdir()
    assert links.main([str(tmp_path / "empty")]) == 1
    assert "build the book first" in capsys.readouterr().out
