"""Secrets are blanked in every form that is known, what only looks like one stays, and once is enough."""

import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.experiment.redact import redacted

ROOT = Path(__file__).parents[2]
# No secret of anybody: made of pieces, so that no scanner of repositories takes them for one.
S3CRET = "hunter2" + "Zx9"
LONG = "aB3" * 14
DIGITS = "0123456789abcdef" * 4
KEY = (
    "-----BEGIN {}PRIVATE KEY-----\nMIIEvQ"
    + "IBADANBg" * 7
    + "\n"
    + "kqhkiG9w0BAQ" * 5
    + "\nqg==\n-----END {}PRIVATE KEY-----"
)

# Each has its secrets in « », and becomes the same with *** in place of them.
TEXTS = [
    # URLs
    f"cannot open https://«user:{S3CRET}»@example.com/rows.csv",
    f"postgresql+psycopg2://«app:{S3CRET}»@db:5432/rows?sslmode=require",
    f"postgres://«app:p/a@ss{S3CRET}»@db/rows",
    f"redis://«:{S3CRET}»@cache:6379/0",
    f"mongodb+srv://«app:{S3CRET}»@cluster0.example.net/x and amqp://«g:{S3CRET}»@mq",
    f"https://«{LONG}»@example.com/organisation/repository.git",
    f"https://«x-access-token:{LONG}»@example.com/a.git",
    f"GET https://example.com/rows?token=«{S3CRET}»&page=2 returned 403",
    f"https://example.com/a?sv=2024&sig=«{LONG}»&se=2025",
    f"https://example.com/a?X-Amz-Signature=«{DIGITS}»&X-Amz-Expires=60",
    # headers
    f"> Authorization: «Bearer {LONG}»",
    f"authorization: «Basic {LONG}==»",
    f"headers={{'Authorization': '«Bearer {S3CRET}»', 'Accept': '*/*'}}",
    f"curl -H 'Authorization: «token {LONG}»' https://example.com",
    f"sent Bearer «{LONG}», got 401",
    f"X-Api-Key: «{S3CRET}»",
    f"Set-Cookie: «session={S3CRET}; Path=/»",
    f"Proxy-Authorization: «Basic {LONG}»",
    # values by name
    f"password=«{S3CRET}»",
    f"Password: «{S3CRET}».",
    f'{{"user": "app", "password": "«a \\"quoted\\" {S3CRET}»", "port": 1}}',
    f"{{'passwd': '«{S3CRET}»', 'port': 1}}",
    f"connect(user='app', password='«{S3CRET}»', port=1)",
    f"connect(user=app, password=«{S3CRET}»)",
    f'\\"client_secret\\": \\"«{S3CRET}»\\", \\"port\\": 1',
    f"token: «{S3CRET}»",
    f"access_token => «{S3CRET}»",
    f"refreshToken := «{S3CRET}»",
    "token: «short»",
    "the password = «123456»",
    f"--password «{S3CRET}» --port 1",
    f"--hf-token=«{S3CRET}»",
    f"api_key='«{S3CRET}»' apiKey=«{S3CRET}» API-KEY: «{S3CRET}»",
    "passphrase: «correct horse battery staple»\nnext line",
    f"sasl.username=app sasl.password=«{S3CRET}» ssl.key.password=«{S3CRET}»",
    f'ScramLoginModule required username="app" password="«{S3CRET}»";',
    f"Server=tcp:db,1433;User Id=sa;Password=«{S3CRET}»;Database=rows",
    f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey=«{LONG}==»;EndpointSuffix=x",
    f"host=db user=app password=«{S3CRET}» dbname=rows",
    f"HOME=/home/app\nFOO_SECRET=«{S3CRET}»\nDB_PASS=«{S3CRET},;&x»\nPATH=/usr/bin:/bin",
    f"export AWS_SECRET_ACCESS_KEY=«{LONG[:20]}/+{LONG[:18]}»",
    f'declare -x WANDB_API_KEY="«{DIGITS[:40]}»"',
    f"environ({{'PGPASSWORD': '«{S3CRET}»', 'SHELL': '/bin/sh'}})",
    f"[('MYSQL_PWD', '«{S3CRET}»'), ('LANG', 'C')]",
    f"\x1b[1;31mtoken=«{S3CRET}»\x1b[0m",
    f"//registry.example.com/:_authToken=«{S3CRET}»",
    # tokens that are known by their shape, wherever they stand
    f"key «AKIA{DIGITS[:16].upper()}» is not allowed",
    f"«ASIA{DIGITS[:16].upper()}»",
    f"«ghp_{LONG[:36]}», «gho_{LONG[:36]}» and «ghs_{LONG[:36]}»",
    f"«github_pat_{LONG}_{LONG}»",
    f"remote: «glpat-{LONG[:20]}»",
    f"«xoxb-123456789012-{LONG[:24]}» «xapp-1-A0-{LONG[:24]}»",
    f"https://«hooks.slack.com/services/T0/B0/{LONG[:24]}»",
    f"«hf_{LONG[:34]}» may not read this model",
    f"Incorrect API key provided: «sk-{LONG}»",
    f"«sk-proj-{LONG}-{LONG}» «sk-ant-api03-{LONG}»",
    f"«AIza{LONG[:35]}»",
    f"«ya29.{LONG}» «GOCSPX-{LONG[:28]}»",
    f"«npm_{LONG[:36]}»",
    f"«pypi-AgE{LONG}»",
    f"«sk_live_{LONG[:24]}» «rk_test_{LONG[:24]}»",
    f"«SG.{LONG[:22]}.{LONG}»",
    f"«dckr_pat_{LONG[:27]}» «dop_v1_{DIGITS}» «dapi{DIGITS[:32]}» «hvs.{LONG}»",
    f"jwt «eyJ{LONG[:20]}.eyJ{LONG}.{LONG}_-» expired",
    # keys
    "before\n«" + KEY.format("", "") + "»\nafter",
    "«" + KEY.format("RSA ", "RSA ") + "»",
    "«" + KEY.format("OPENSSH ", "OPENSSH ") + "» and «" + KEY.format("EC ", "EC ") + "»",
    '"private_key": "«' + KEY.format("", "").replace("\n", "\\n") + '\\n»", "port": 1',
    "«" + KEY.format("", "")[:150] + "»",  # its end was cut off
    f"«{'MIIB' * 16}\n{'MIIB' * 8}-----END PRIVATE KEY-----»",  # its beginning, and a line's end
    "«" + KEY.format("", "")[40:] + "» after",  # its beginning was
]

STAY = [
    "token_count=5",
    "max_tokens=512 tokens: 1024, tokenizer=bpe",
    "pad_token=[PAD] eos_token='</s>' next_token: 5 token_type=word",
    "token: 17",
    "unexpected token: ')'",
    "SyntaxError: invalid token: ','",
    f"sha256: {DIGITS}",
    f"data hash {DIGITS[:12]} then, {DIGITS[4:16]} now",
    f"commit {DIGITS[:40]}, digest image@sha256:{DIGITS}",
    "/home/app/runs/password/report.html",
    "password_file=/run/secrets/db secretName: db-login",
    "GOOGLE_APPLICATION_CREDENTIALS=/var/run/key.json",
    "PWD=/home/app OLDPWD=/tmp",
    "credentials: ~/.aws/credentials",
    "password=None token=null secret='' api_key=\"\"",
    "password=${DB_PASSWORD} token=$TOKEN secret=<secret> password=%(pw)s",
    "password=SecretStr('**********')",
    "sasl.password: must be set beside sasl.username, got none",
    "password: is required",
    "getting credentials: exec: executable aws not found",
    "reading secret: open: permission denied; parsing token: unexpected EOF",
    "the password is wrong",
    'secret "db-login" not found',
    "forward_pass: 3.5 backward_pass=ok, first pass=1",
    "http://127.0.0.1:8080/a@b and https://example.com/logo@2x.png",
    "ssh://git@example.com/a.git, hdfs://app@namenode/rows",
    "mail to someone@example.com",
    "s3://bucket/key=value/day=2024-01-01/part-0.parquet",
    "sk-learn-compatible-estimators-and-pipelines",
    "basic understanding-of-something, bearer of-good-news-of-the-day",
    "key=value; primary key=17, keys: [a, b]",
    "expected '-----BEGIN PRIVATE KEY-----', got an empty file",
    "-----BEGIN CERTIFICATE-----\n" + "MIIB" * 16 + "\n-----END CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----\n" + "MIIB" * 16 + "\n-----END PUBLIC KEY-----",
    "authorization failed; 401 Unauthorized",
    "author=someone, authored: 2024",
    "monkey=1 keyboard: qwerty",
    "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB",
    "trial 3f0a1b2c4d5e, epoch 3 of 20, validMse 0.00023: loss=nan",
    "ValueError: shapes (3,4) and (5,6) not aligned: 4 (dim 1) != 5 (dim 0)",
    'File "/app/train.py", line 10, in <module>',
    "",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_secret_of_a_known_form_is_blanked_and_nothing_else(text: str) -> None:
    told = text.replace("«", "").replace("»", "")
    parts = text.replace("»", "«").split("«")
    assert redacted(told) == "***".join(parts[::2])


@pytest.mark.parametrize("text", STAY)
def test_what_only_looks_like_a_secret_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize("seed", range(300))
def test_what_is_redacted_stays_as_it_is_and_no_secret_survives_among_others(seed: int) -> None:
    drawn = random.Random(seed)
    texts = drawn.sample(TEXTS, 4) + drawn.sample(STAY, 4)
    drawn.shuffle(texts)
    whole = drawn.choice(["\n", "; ", " | ", ", ", "\t"]).join(texts)
    once = redacted(whole.replace("«", "").replace("»", ""))
    assert redacted(once) == once
    for secret in (S3CRET, LONG[:18], DIGITS[:40] if "WANDB" in whole else S3CRET):
        hashes = sum(text.count(secret) for text in texts if text in STAY)
        assert once.count(secret) == hashes


@pytest.mark.parametrize("seed", range(200))
def test_any_text_at_all_is_redacted_once_for_all(seed: int) -> None:
    drawn = random.Random(seed)
    pieces = ["password", "token", "cookie", "=", ":", " ", '"', "'", "\\", "\n", "://", "@", "a", "A1", "***", "--",
              "&", ";", "[", "(", ".", "é", "\0", "Bearer ", "eyJ", "-----BEGIN PRIVATE KEY-----",
              "-----END PRIVATE KEY-----"]  # fmt: skip
    text = "".join(drawn.choices(pieces, k=40))
    assert redacted(redacted(text)) == redacted(text)


def test_hostile_text_takes_no_more_time_than_its_length_asks_for() -> None:
    # By CPU time, which other processes don't add to. Where the time grew with the square of the length, each of
    # these would take minutes.
    script = """
import sys
from trainer.experiment.redact import redacted
for unit in sys.argv[1:]:
    redacted((unit * 100_000)[:100_000])
"""
    units = ["a", "a-", "a.", "A" * 20 + " ", "://", "://a:", "password=", 'password="', 'password="\\', "password=(",
             "cookie:", "cookie:*", "--password ", "-----BEGIN PRIVATE KEY-----", "-----BEGIN A A A ", "eyJ", "sk-",
             "eyJaaaaaaaa.", "xoxa.xoxb-", "Bearer ", "\\", '\\"', "'", "&token=", "token=${", "[31m",
             "\n", " "]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script, *units],
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (60, 60)),
        check=False,
    )
    assert done.returncode == 0
