"""Links to other sites, without the network.

Whether they lead somewhere is found by `python -m sphinx -b linkcheck`.
"""

import collections
import re
import runpy
from urllib.parse import urlsplit

import pytest

from tests.site.test_pages import DOCS
from tests.site.test_pages import PAGES
from tests.site.test_pages import ROOT

FILES = [
    *ROOT.glob("*.md"),
    *(DOCS / page for page in PAGES),
    *ROOT.glob("keras_sam/**/*.py"),
    *ROOT.glob("examples/**/*.py"),
]
TEXTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in FILES
}
KERAS_PAGES = runpy.run_path(str(DOCS / "_ext" / "docstrings.py"))[
    "KERAS_PAGES"
]

URL = re.compile(r"https?://[^\s<>()\[\]{}|\\\"'`]+")
ARXIV = re.compile(r"https://arxiv\.org/abs/(\d{4})\.(\d{4,5})")
# "[Foret et al., 2021](URL)", "(Croce and Hein, 2020, URL", "[ASAM](URL)".
CITED = re.compile(
    r"(?:\[([^\[\]]+)\]\(|\(((?:[^\W\d][\w-]*\.? )+et al\., \d{4}|"
    r"[^\W\d][\w-]* and [^\W\d][\w-]*, \d{4}), )"
    r"(https://arxiv\.org/[^\s,)]+)"
)


def urls(text):
    return {url.rstrip(".,;:!?") for url in URL.findall(text)}


LINKS = sorted({
    *(url for text in TEXTS.values() for url in urls(text)),
    *KERAS_PAGES.values(),
})


def one_form(url):
    """Return what all addresses of a page have in common."""
    parts = urlsplit(url.lower())
    host = parts.netloc.removeprefix("www.").removeprefix("export.")
    path = parts.path.rstrip("/").removesuffix(".git")
    if host == "arxiv.org":
        path = re.sub(r"^/(pdf|html|format)/", "/abs/", path)
        path = re.sub(r"(v\d+)?(\.pdf)?$", "", path)
    return host, path, parts.query


def test_links_are_found_in_text_and_docstrings():
    assert urls("see (https://a.org/b), [x](https://c.org/?d=e-).") == {
        "https://a.org/b",
        "https://c.org/?d=e-",
    }
    assert "https://arxiv.org/abs/2010.01412" in LINKS
    assert "https://openreview.net/forum?id=6Wl7-M2BC-" in LINKS


@pytest.mark.parametrize("url", LINKS)
def test_a_link_is_a_complete_address(url):
    parts = urlsplit(url)
    assert parts.scheme == "https"
    assert re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", parts.netloc)
    assert "//" not in parts.path


def test_a_page_has_one_address():
    forms = collections.defaultdict(set)
    for url in LINKS:
        forms[one_form(url)].add(url)
    assert [several for several in forms.values() if len(several) > 1] == []


@pytest.mark.parametrize(
    "url", [url for url in LINKS if one_form(url)[0] == "arxiv.org"]
)
def test_a_paper_has_a_number_of_arxiv(url):
    month, number = ARXIV.fullmatch(url).groups()
    assert 1 <= int(month[2:]) <= 12
    # Numbers have had five digits since 2015.
    assert len(number) == (4 if month < "1501" else 5)


def cited():
    """Return the addresses of the papers by the text they are cited with."""
    papers = collections.defaultdict(set)
    for text in TEXTS.values():
        # Lines end within the name of a paper too.
        for in_brackets, plain, url in CITED.findall(" ".join(text.split())):
            name = re.sub(r"[(),]", "", in_brackets or plain)
            papers[name].add(url)
    return papers


def test_one_name_is_one_paper():
    papers = cited()
    assert len(papers["Foret et al. 2021"]) == 1
    assert len(papers["Croce and Hein 2020"]) == 1
    several = {name: found for name, found in papers.items() if len(found) > 1}
    assert several == {}


def test_a_paper_is_published_within_two_years():
    for name, found in cited().items():
        if year := re.search(r" (20\d\d)$", name):
            [url] = found
            posted = 2000 + int(ARXIV.fullmatch(url)[1][:2])
            assert posted <= int(year[1]) <= posted + 2, (name, url)
