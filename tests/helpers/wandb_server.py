"""A stand-in for the Weights & Biases server on loopback: what the unmodified client sends is kept, to be looked at.

It answers GraphQL, the file stream and uploads as far as the client needs to go on. It shows what the client sends; how
the site draws it, it does not show. Run by hand (``python tests/helpers/wandb_server.py PORT``), it prints
what it is asked.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import json
import re
import sys
import threading
import traceback
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

KEY = "0123456789abcdef" * 2 + "01234567"
ENTITY = "someone"


def _id(*parts: str) -> str:
    return base64.b64encode(":".join(parts).encode()).decode()


class Run:
    """What arrived of one run."""

    def __init__(self, project: str, name: str) -> None:
        self.project, self.name = project, name
        self.fields: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.lines: dict[str, list[str]] = defaultdict(list)
        self.files: dict[str, bytes] = {}
        self.exit_code: int | None = None
        self.used: list[str] = []

    @property
    def history(self) -> list[dict[str, Any]]:
        """Return the rows that arrived, in order."""
        return [json.loads(line) for line in self.lines["wandb-history.jsonl"]]

    def settings(self) -> dict[str, Any]:
        """Return the configuration without what the client adds of its own."""
        return {key: entry["value"] for key, entry in self.config.items() if key != "_wandb"}

    def metrics(self) -> dict[str, str]:
        """Return the step metric of every key that was bound to one."""
        defined = self.config["_wandb"]["value"].get("m", [])
        # By number: 1 is the name, 5 the place (from 1) of its step metric in this list.
        return {m["1"]: defined[m["5"] - 1]["1"] for m in defined if "5" in m}


class Artifact:
    """What arrived of one artifact."""

    def __init__(self, number: int, fields: dict[str, Any]) -> None:
        self.id = _id("Artifact", str(number))
        self.fields = fields
        self.files: dict[str, bytes] = {}
        self.state = "PENDING"
        self.manifest: dict[str, Any] = {}
        self.manifest_bytes = b""
        self.version = 0

    @property
    def name(self) -> str:
        name: str = self.fields["name"]
        return name

    @property
    def type(self) -> str:
        kind: str = self.fields["artifactTypeName"]
        return kind


class State:
    """All that arrived."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.runs: dict[str, Run] = {}
        self.artifacts: list[Artifact] = []
        self.uploads: dict[str, Any] = {}
        self.sweeps: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.reports: list[dict[str, Any]] = []
        self.unknown: list[str] = []
        self.failures: list[str] = []
        self.urls: list[str] = []

    def run(self, name: str) -> Run:
        """Return the run of this id."""
        return self.runs[name]


class Server:
    """The stand-in: ``with Server() as server`` serves at ``server.url``.

    It takes requests whose address matches the pattern ``hang``, and answers none of them.
    """

    def __init__(self, *, hang: str | None = None, port: int = 0, verbose: bool = False) -> None:
        self.state = State()
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: Any) -> None: ...

            def handle(self) -> None:
                # The client drops its connections when it is done.
                with contextlib.suppress(ConnectionError):
                    super().handle()

            def _body(self) -> bytes:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

            def _answer(self) -> None:
                body = self._body()
                if hang is not None and re.search(hang, self.path):
                    outer.released.wait()
                    self.close_connection = True
                    return
                with outer.state.lock:
                    try:
                        status, out = outer._serve(self.command, urlsplit(self.path).path, body, verbose)
                    except Exception:
                        outer.state.failures.append(traceback.format_exc())
                        # Not one that the client tries again.
                        status, out = 400, b"{}"
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(out)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(out)

            do_GET = do_POST = do_PUT = do_HEAD = _answer

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.state.urls.append(self.url)
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()

    def environment(self) -> dict[str, str]:
        """Return the environment that makes the client talk to this server."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false"}

    # What is asked.

    def _serve(self, method: str, path: str, body: bytes, verbose: bool) -> tuple[int, bytes]:
        if path == "/graphql":
            asked = json.loads(body)
            query = asked["query"]
            name = asked.get("operationName") or next(iter(re.findall(r"(?:query|mutation)\s+(\w+)", query)), "")
            variables = asked.get("variables") or {}
            self.state.asked.append((name, variables))
            handler = getattr(self, f"_{name}", None)
            if handler is None:
                self.state.unknown.append(name)
            data = handler(variables, query) if handler else {}
            if verbose:
                print(
                    f"-- {name} {'' if handler else 'UNKNOWN'}\n{query if not handler else ''}\n{variables}\n-> {data}"
                )
            return 200, json.dumps({"data": data}).encode()
        stream = re.fullmatch(r"/files/(?:[^/]+/)?[^/]+/([^/]+)/file_stream", path)
        if stream:
            return 200, self._file_stream(unquote(stream.group(1)), json.loads(body), verbose)
        if path.startswith("/store/"):
            return self._store(method, path, body)
        if verbose and not path.startswith("/sdk/otel"):
            print(f"-- {method} {path} {body[:200]!r}")
        return (200 if path.startswith("/sdk/otel") else 404), b"{}"

    def _file_stream(self, name: str, sent: dict[str, Any], verbose: bool) -> bytes:
        run = self.state.run(name)
        for file, part in (sent.get("files") or {}).items():
            if file == "wandb-summary.json":
                run.summary = json.loads(part["content"][-1])
                continue
            # As the real one does: lines are put where the client says that they belong.
            lines, offset = run.lines[file], part["offset"]
            lines[offset : offset + len(part["content"])] = part["content"]
            if verbose:
                print(f"-- {file} of {name} from {offset}: {len(part['content'])} lines")
        if "exitcode" in sent:
            run.exit_code = sent["exitcode"]
        return b"{}"

    def _store(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if method == "PUT":
            keep = self.state.uploads.get(path)
            if keep is None:
                return 404, b"{}"
            keep(body)
            return 200, b"{}"
        for artifact in self.state.artifacts:
            if path == f"/store/manifest/{artifact.id}":
                return 200, artifact.manifest_bytes
            for entry in artifact.files:
                if path == f"/store/download/{artifact.id}/{entry}":
                    return 200, artifact.files[entry]
        return 404, b"{}"

    def _upload(self, path: str, keep: Any) -> str:
        self.state.uploads[path] = keep
        return self.url + path

    # Runs.

    def _Viewer(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        return {
            "viewer": {
                "id": _id("User", "1"),
                "entity": ENTITY,
                "username": ENTITY,
                "name": ENTITY,
                "email": "someone@example.org",
                "admin": False,
                "flags": "{}",
                "deletedAt": None,
                "teams": {"edges": []},
                "apiKeys": {"edges": []},
            }
        }

    def _OrganizationCoreWeaveOrganizationID(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        # Whose machine it is; the client goes on without.
        return {"entity": None}

    def _project(self, name: str) -> dict[str, Any]:
        return {"id": _id("Project", name), "name": name, "entity": {"id": _id("Entity", ENTITY), "name": ENTITY}}

    def _bucket(self, run: Run) -> dict[str, Any]:
        return {
            "id": _id("Run", run.name),
            "name": run.name,
            "displayName": run.fields.get("displayName") or run.name,
            "description": "",
            "notes": "",
            "config": json.dumps(run.config),
            "sweepName": run.fields.get("sweep"),
            "project": self._project(run.project),
            "historyLineCount": len(run.lines["wandb-history.jsonl"]),
            "logLineCount": len(run.lines["output.log"]),
            "eventsLineCount": len(run.lines["wandb-events.jsonl"]),
            "historyTail": json.dumps(run.lines["wandb-history.jsonl"][-1:]),
            "eventsTail": json.dumps(run.lines["wandb-events.jsonl"][-1:]),
            "summaryMetrics": json.dumps(run.summary),
            "tags": run.fields.get("tags") or [],
            "wandbConfig": json.dumps({"t": 1}),
        }

    def _RunResumeStatus(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        run = self.state.runs.get(v["name"])
        return {"model": {**self._project(v["project"]), "bucket": self._bucket(run) if run else None}}

    def _UpsertBucket(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        new = v["name"] not in self.state.runs
        if new:
            self.state.runs[v["name"]] = Run(v["project"], v["name"])
        run = self.state.run(v["name"])
        run.fields |= {key: value for key, value in v.items() if value is not None}
        if v.get("config"):
            run.config |= json.loads(v["config"])
        if v.get("summaryMetrics"):
            run.summary = json.loads(v["summaryMetrics"])
        return {"upsertBucket": {"bucket": self._bucket(run), "inserted": new}}

    def _CreateRunFiles(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        run = self.state.run(v["run"])

        def place(file: str) -> str:
            return self._upload(f"/store/run/{run.name}/{file}", lambda body: run.files.__setitem__(file, body))

        files = [{"name": file, "uploadUrl": place(file)} for file in v["files"]]
        return {"createRunFiles": {"runID": run.name, "uploadHeaders": [], "files": files}}

    def _RunStoppedStatus(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        return {"project": {"run": {"stopped": False}}}

    def _run_fragment(self, run: Run) -> dict[str, Any]:
        bucket = self._bucket(run)
        kept = ("id", "name", "displayName", "sweepName", "config", "tags", "notes", "description", "summaryMetrics")
        return {
            **{name: bucket[name] for name in kept},
            "projectId": 1,
            "state": "running" if run.exit_code is None else "finished" if run.exit_code == 0 else "failed",
            "group": run.fields.get("groupName"),
            "jobType": run.fields.get("jobType"),
            "commit": None,
            "readOnly": False,
            "createdAt": "2026-01-01T00:00:00",
            "heartbeatAt": "2026-01-01T00:00:00",
            "systemMetrics": "{}",
            "historyLineCount": bucket["historyLineCount"],
            "user": {"name": ENTITY, "username": ENTITY},
            "historyKeys": {"lastStep": len(run.history) - 1, "keys": {}, "sets": []},
        }

    def _Runs(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        filters = json.loads(v.get("filters") or "{}")
        group, names = filters.get("group"), (filters.get("name") or {}).get("$in")
        there = [run for run in self.state.runs.values() if run.project == v["project"]]
        found = [
            run
            for run in there
            if group in (None, run.fields.get("groupName")) and (names is None or run.name in names)
        ]
        edges = [{"node": self._run_fragment(run), "cursor": run.name} for run in found]
        page = {"endCursor": None, "hasNextPage": False}
        runs = {"edges": edges, "pageInfo": page}
        return {"project": {"internalId": "1", "runCount": len(found), "readOnly": False, "runs": runs}}

    def _Run(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        run = self.state.run(v["name"])
        return {"project": {**self._project(run.project), "internalId": "1", "run": self._run_fragment(run)}}

    def _HistoryPage(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        lines = self.state.run(v["run"]).lines["wandb-history.jsonl"]
        return {"project": {"run": {"history": lines[v["minStep"] : v["maxStep"]]}}}

    def _RunHistoryKeys(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        return {"project": {"run": {"historyKeys": {"lastStep": len(self.state.run(v["name"]).history) - 1}}}}

    def _RunParquetHistory(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        # Nothing is packed away yet: all rows are live.
        return {
            "project": {
                "run": {"parquetHistory": {"parquetUrls": [], "liveData": self.state.run(v["runName"]).history}}
            }
        }

    def _GetDefaultEntity(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        return {"viewer": {"id": _id("User", "1"), "entity": ENTITY}}

    def _ProjectInternalId(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        return {"project": {"id": _id("Project", v["projectName"]), "internalId": "1"}}

    def _GetProjects(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        user = self._Viewer(v, query)["viewer"]
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        names = sorted({run.project for run in self.state.runs.values()})
        more = {"__typename": "Project", "entityName": ENTITY, "createdAt": "2026-01-01T00:00:00Z", "user": user}
        nodes = [{"node": {**self._project(name), **more, "isBenchmark": False}} for name in names]
        return {"models": {"pageInfo": page, "edges": nodes}}

    def _upsertView(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        self.state.reports.append(v)
        kept = {name: v.get(name) for name in ("type", "name", "displayName", "description", "spec")}
        project = {**self._project(v["projectName"]), "entityName": ENTITY}
        view = {**kept, "id": _id("View", str(len(self.state.reports))), "project": project}
        return {"upsertView": {"view": {**view, "updatedAt": "2026-01-01T00:00:00"}, "inserted": True}}

    # Sweeps: a grid, in the order of its values.

    def _UpsertSweep(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        name = f"sweep{len(self.state.sweeps)}"
        config = yaml.safe_load(v["config"])
        grid = config["parameters"]
        trials = [dict(zip(grid, values, strict=True)) for values in product(*(p["values"] for p in grid.values()))]
        self.state.sweeps[name] = {"config": v["config"], "project": v["projectName"], "trials": trials, "given": []}
        sweep = {"name": name, "project": self._project(v["projectName"])}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def _SweepWithRuns(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        config = self.state.sweeps[v["sweep"]]["config"]
        times = dict.fromkeys(("createdAt", "heartbeatAt", "updatedAt"), "2026-01-01T00:00:00")
        empty = {"description": None, "bestLoss": None, "controller": None, "scheduler": None, "runs": {"edges": []}}
        sweep = {"id": _id("Sweep", v["sweep"]), "name": v["sweep"], "method": "grid", "state": "RUNNING"}
        return {"project": {"sweep": {**sweep, **times, **empty, "config": config, "earlyStopJobRunning": False}}}

    def _GetSweepState(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        return {"project": {"sweep": {"state": "RUNNING"}}}

    def _CreateAgent(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        return {"createAgent": {"agent": {"id": v["sweep"]}}}

    def _is_hopeless(self, sweep: dict[str, Any]) -> bool:
        """Return whether the last trial is to be stopped: after min_iter rows its metric is above the first trial's."""
        config = yaml.safe_load(sweep["config"])
        name, first = config["metric"]["name"], config.get("early_terminate", {}).get("min_iter")
        if first is None or len(sweep["given"]) < 2:
            return False
        runs = [self.state.runs.get(f"trial{k}") for k in (1, len(sweep["given"]))]
        of_trial = [[row[name] for row in run.history if name in row] if run else [] for run in runs]
        return len(of_trial[1]) >= first and of_trial[1][first - 1] > of_trial[0][first - 1]

    def _Heartbeat(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        sweep = self.state.sweeps[v["id"]]
        commands: list[dict[str, Any]] = []
        if not json.loads(v["runState"] or "{}"):
            values = sweep["trials"][len(sweep["given"])]
            sweep["given"].append(values)
            args = {name: {"value": value} for name, value in values.items()}
            program = yaml.safe_load(sweep["config"]).get("program")
            commands = [{"type": "run", "run_id": f"trial{len(sweep['given'])}", "args": args, "program": program}]
        elif self._is_hopeless(sweep):
            commands = [{"type": "stop", "run_id": f"trial{len(sweep['given'])}"}]
        agent = {"id": v["id"]}
        return {"agentHeartbeat": {"agent": agent, "commands": json.dumps(commands)}}

    # Artifacts.

    def _artifact(self, id_or_name: str) -> Artifact | None:
        wanted = id_or_name.rpartition(":")[0] or id_or_name
        found = [a for a in self.state.artifacts if id_or_name == a.id or wanted == a.name]
        return found[-1] if found else None

    def _ServerFeaturesQuery(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def _ArtifactType(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        artifact = self._artifact(v["name"])
        return {"project": {"artifact": {"artifactType": {"name": artifact.type}} if artifact else None}}

    def _CreateArtifact(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        fields = v["input"]
        collection = fields["artifactCollectionName"]
        versions = [a for a in self.state.artifacts if a.name == collection]
        same = [a for a in versions if a.fields["digest"] == fields["digest"]]
        artifact = same[0] if same else Artifact(len(self.state.artifacts), {**fields, "name": collection})
        if not same:
            artifact.version = len(versions)
            self.state.artifacts.append(artifact)
        latest = {"latestArtifact": {"id": versions[-1].id} if versions else None}
        made = {"id": artifact.id, "state": artifact.state, "artifactSequence": latest}
        return {"createArtifact": {"artifact": made}}

    def _CreateArtifactManifest(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        artifact = self._artifact(v["artifactID"])
        assert artifact

        def keep(body: bytes) -> None:
            artifact.manifest_bytes, artifact.manifest = body, json.loads(body)

        url = self._upload(f"/store/manifest/{artifact.id}", keep)
        file = {"id": _id("File", artifact.id), "uploadUrl": url, "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": _id("Manifest", artifact.id), "file": file}}}

    def _UpdateArtifactManifest(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        ids = {_id("Manifest", a.id): a.id for a in self.state.artifacts}
        made = self._CreateArtifactManifest({"artifactID": ids[v["artifactManifestID"]]}, query)
        return {"updateArtifactManifest": made["createArtifactManifest"]}

    def _CreateArtifactFiles(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        edges = []
        for spec in v["input"]["artifactFiles"]:
            artifact = self._artifact(spec["artifactID"])
            assert artifact
            url = self._upload(
                f"/store/artifact/{artifact.id}/{spec['name']}",
                lambda body, artifact=artifact, name=spec["name"]: artifact.files.__setitem__(name, body),
            )
            node = {"storagePath": spec["name"], "uploadUrl": url, "uploadHeaders": [], "artifact": {"id": artifact.id}}
            edges.append({"node": {**node, "uploadMultipartUrls": None}})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _CommitArtifact(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        artifact = self._artifact(v["artifactID"])
        assert artifact
        artifact.state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.fields["digest"]}}}

    def _UseArtifact(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        fields = v.get("input", v)
        artifact = self._artifact(fields["artifactID"])
        assert artifact
        self.state.run(fields["runName"]).used.append(artifact.name)
        return {"useArtifact": {"artifact": {"id": artifact.id, "digest": artifact.fields["digest"]}}}

    def _fragment(self, artifact: Artifact) -> dict[str, Any]:
        project = {**self._project(artifact.fields["projectName"]), "internalId": _id("P", "1")}
        collection = {"__typename": "ArtifactSequence", "name": artifact.name, "project": project}
        return {
            "__typename": "Artifact",
            "id": artifact.id,
            "artifactSequence": collection,
            "versionIndex": artifact.version,
            "artifactType": {"name": artifact.type},
            "description": None,
            "metadata": artifact.fields.get("metadata") or "{}",
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": artifact.state,
            "size": sum(map(len, artifact.files.values())),
            "digest": artifact.fields["digest"],
            "digestAlgorithm": "MANIFEST_MD5",
            "commitHash": hashlib.sha256(artifact.id.encode()).hexdigest(),
            "fileCount": len(artifact.files),
            "createdAt": "2026-01-01T00:00:00Z",
            "updatedAt": "2026-01-01T00:00:00Z",
            "aliases": [],
        }

    def _ArtifactByID(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        artifact = self._artifact(v["id"])
        return {"artifact": self._fragment(artifact) if artifact else None}

    def _ArtifactMembershipByName(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        artifact = self._artifact(v["name"])
        if artifact is None:
            return {"project": {"artifactCollectionMembership": None}}
        fragment = self._fragment(artifact)
        alias = {"__typename": "ArtifactAlias", "id": _id("Alias", artifact.id), "alias": "latest"}
        member = {
            "__typename": "ArtifactCollectionMembership",
            "id": _id("Member", artifact.id),
            "versionIndex": artifact.version,
            "createdAt": "2026-01-01T00:00:00Z",
            "aliases": [alias],
            "artifactCollection": fragment["artifactSequence"],
            "artifact": fragment,
        }
        return {"project": {"artifactCollectionMembership": member}}


def main() -> None:
    server = Server(port=int(sys.argv[1]), verbose=True)
    print(server.url, flush=True)
    server._http.serve_forever()


if __name__ == "__main__":
    main()
