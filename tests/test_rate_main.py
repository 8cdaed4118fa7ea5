"""`python -m tlm_jax.rate`: serves, survives a kill, judges, reports, says what is wrong."""

import http.client
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import json_lines
import pytest
from served_ratings import CORRECTION, explanations

from tlm_jax.errors import UserError
from tlm_jax.rate import main

for _name in ("starlette", "uvicorn", "krippendorff"):
    pytest.importorskip(_name)


@pytest.fixture
def path(tmp_path):
    return json_lines.write(tmp_path / "some.jsonl", *explanations())


class _Running:
    """The command, in a process of its own."""

    def __init__(self, path, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tlm_jax.rate", str(path), "--port=0", *arguments],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if line.startswith("Ctrl-C"):
                break
        found = re.search(r"page +http://([^/]+):(\d+)/(?:\?token=(\S+))?", self.said)
        assert found, self.said + self.process.stderr.read()
        self.host, self.port, self.token = found[1], int(found[2]), found[3]

    def post(self, path, asked, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        own = {"Origin": f"http://127.0.0.1:{self.port}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(asked), {**own, **headers})
        answer = connection.getresponse()
        found = answer.status, json.loads(answer.read())
        connection.close()
        return found

    def end(self, kill=False):
        (self.process.kill if kill else self.process.terminate)()
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


def test_nothing_is_lost_by_a_kill(path):
    running = _Running(path)
    item = running.post("/item", {"rater": "Ann", "place": 0})[1]["item"]
    for value in (1, 2, 3):
        asked = {"rater": "Ann", "item": item, "values": {"fluency": value}}
        assert running.post("/rate", asked)[0] == 200
    assert running.end(kill=True)[0] == -9
    ratings = path.with_name("some.ratings.jsonl")
    assert [json.loads(line)["fluency"] for line in ratings.read_text().splitlines()] == [1, 2, 3]
    ratings.write_bytes(ratings.read_bytes()[:-20])  # as a crash of the machine may leave it
    running = _Running(path)
    assert running.post("/item", {"rater": "Ann", "place": 0})[1]["values"] == {"fluency": 2}
    status, errors = running.end()
    assert status == 143
    assert errors == "stopped by SIGTERM; what was finished is safe, and the same command goes on\n"


def test_other_machines_need_the_token(path):
    running = _Running(path, "--host=0.0.0.0")
    try:
        assert running.host == socket.gethostname()
        assert len(running.token) == 32
        assert "nothing is encrypted" in running.said
        assert running.post("/start", {"rater": "A"})[0] == 401
        assert running.post(f"/start?token={running.token}", {"rater": "A"})[0] == 200
    finally:
        running.end()


def test_the_report(path, tmp_path, capsys):
    first = explanations()[0]
    assert main([str(path), "--report"]) == 0
    assert "nobody has rated anything yet" in capsys.readouterr().out
    assert json.loads((tmp_path / "some.report.json").read_text())["items"] == 6
    assert first["question"] not in (tmp_path / "some.report.html").read_text()
    assert main([str(path), "--report", f"--output={tmp_path}/deep/page.html"]) == 0
    assert (tmp_path / "deep" / "page.json").exists()


class _Judge(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = "rating: good" if "Wrong solution" in asked["messages"][0]["content"] else "?"
        message = {"message": {"content": text}, "finish_reason": "stop"}
        body = json.dumps({"choices": [message]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *unused):
        pass


def test_a_judge_and_its_report(path, tmp_path, capsys):
    corrections = json_lines.write(tmp_path / "rate.jsonl", CORRECTION, {**CORRECTION, "id": "p2"})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Judge) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        name = f"--judge=openai:http://127.0.0.1:{server.server_port}/v1,m"
        try:
            assert main([str(corrections), name, "--report"]) == 0
            said = capsys.readouterr().out
            assert "judged    2 items now, 0 before" in said
            assert "m (model)  2 of 2" in said
            assert "rating, m" in said
            assert not (tmp_path / "rate.ratings.jsonl").exists()
            assert main([str(path), name]) == 1
            said = capsys.readouterr().out
            assert (
                "left out  q0 of human: the answer does not end with a value for each field" in said
            )
            assert "left out  6 items in all; the same command asks for them again" in said
        finally:
            server.shutdown()


def test_what_is_wrong_is_one_line(path, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            UserError, match=rf"served at 127\.0\.0\.1, port {port} \(Address alrea"
        ):
            main([str(path), f"--port={port}"])
    for arguments, message in (
        (["--port=70000"], "--port is 70000, expected 0 to 65535"),
        (["--host=no.such.host.invalid"], "cannot be served at no.such.host.invalid, port 8360"),
        (["--output=x.html"], "--output says where the report goes: give --report, too"),
        (["--judge=m"], "--judge=m: expected a server's URL and a model's name"),
        (["--source=writer"], "has no 'writer'"),
        (["--scale=stars"], "invalid choice: 'stars'"),
    ):
        with pytest.raises(UserError, match=re.escape(message)) as caught:
            main([str(path), *arguments])
        assert "\n" not in str(caught.value)
    filled = json_lines.write(tmp_path / "b.jsonl", {**CORRECTION, "rating": "good"})
    main([str(filled), "--report"])
    assert "note: 1 rows of" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["starlette", "uvicorn", "krippendorff"])
def test_what_is_not_installed_is_named(path, missing):
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from tlm_jax.errors import UserError\n"
        "from tlm_jax.rate import main\n"
        "try: main(sys.argv[1:])\n"
        "except UserError as error: print(error)\n"
    )
    if missing == "krippendorff":
        rated = {"item": "", "rater": "A", "kind": "person"}
        from tlm_jax.rating.items import Fields, read_sheet

        key = read_sheet(path, Fields()).items[0].key
        rows = [
            {**rated, "item": key, "rater": name, "fluency": n} for n, name in ((1, "A"), (2, "B"))
        ]
        json_lines.write(path.with_name("some.ratings.jsonl"), *rows)
    arguments = ["--report"] if missing == "krippendorff" else ["--port=0"]
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), *arguments],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pip install 'tlm_jax[rate]'" in done.stdout
