"""What kubectl says when it fails becomes one sentence. What it says itself is tried in tests/cluster."""

import pytest

from trainer.experiment.errors import UserError
from trainer.kubectl import ask, meaning, spoken

LOG = (
    'E1128 07:57:50.459025   27510 memcache.go:265] "Unhandled Error" err="couldn\'t get current server API group '
    'list: Get \\"https://127.0.0.1:1/api?timeout=32s\\": dial tcp 127.0.0.1:1: connect: connection refused"\n'
)
LONG_LOG = (
    'E1128 07:57:53.698643   27676 memcache.go:265] "Unhandled Error" err=<\n'
    "\tcouldn't get current server API group list: getting credentials: exec: executable aws not found\n"
    "\t\n"
    "\tIt looks like you are trying to use a client-go credential plugin that is not installed.\n"
    " >\n"
)
REFUSED = "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?\n"
PLUGIN = "Unable to connect to the server: getting credentials: exec: executable aws not found\n\nIt looks like\n"


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        (LOG * 7 + REFUSED, "The connection to the server 127.0.0.1:1 was refused"),
        (
            LONG_LOG * 7 + PLUGIN,
            "Unable to connect to the server: getting credentials: exec: executable aws not found",
        ),
        ('Error from server (NotFound): pods "x" not found\n', 'Error from server (NotFound): pods "x" not found'),
        ("error: a\n  b\n", "error: a b"),
        ("Get https://a:b1c2@host: token: abcdef\n", "Get https://***@host: token: ***"),
        ("", ""),
    ],
)
def test_the_log_of_kubectl_is_left_out_and_so_are_secrets(stderr: str, said: str) -> None:
    assert spoken(stderr) == said


def test_where_only_a_log_was_written_that_is_told() -> None:
    assert "connection refused" in spoken(LOG)


@pytest.mark.parametrize(
    ("stderr", "begins", "todo"),
    [
        (LOG * 7 + REFUSED, "the cluster cannot be reached (", "see that it runs, or choose another with"),
        (LONG_LOG + PLUGIN, "the cluster cannot be reached (", "see that it runs, or choose another with"),
        ("Unable to connect to the server: dial tcp: lookup nowhere: no such host", "the cluster cannot be reached (",
         "KUBECONFIG"),
        ("Unable to connect to the server: tls: failed to verify certificate: x509: unknown authority",
         "the cluster cannot be reached (", "KUBECONFIG"),
        ('error: error loading config file "/x": yaml: line 1', "kubectl's configuration cannot be used: ",
         "mend it, or set KUBECONFIG"),
        ("Error in configuration: context was not found for specified context: gone",
         "kubectl's configuration cannot be used: ", "mend it, or set KUBECONFIG"),
        ("error: You must be logged in to the server (Unauthorized)", "the cluster (", "log in as somebody who may"),
        ('Error from server (Forbidden): pods is forbidden: User "x"', "the cluster (", "log in as somebody who may"),
    ],
)  # fmt: skip
def test_a_complaint_says_what_to_do_in_one_line(stderr: str, begins: str, todo: str) -> None:
    said = meaning(stderr)
    assert said.startswith(begins)
    assert todo in said
    assert "\n" not in said
    assert "memcache" not in said


def test_without_kubectl_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError) as refused:
        ask(None, "get", "pods", what="pods")
    assert str(refused.value) == (
        "pods: is asked for with kubectl, which cannot be started (No such file or directory); install it, or put it "
        "on the PATH"
    )
