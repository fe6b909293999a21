"""What a contract says of its activities, the TypeScript compiler holds its authors to."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bridge.contracts.files import CONTRACTS, read_json
from bridge.contracts.types import typescript

PACKAGE = CONTRACTS / "typescript"
TSC = PACKAGE / "node_modules/.bin/tsc"
YOURS = """
import { activities, operations, type EffectOf } from "joelclaw-bridge";
import type { Subsystem } from "./types.ts";

export const right = activities<Subsystem>({
  plan: async ({ goal }, { heartbeat }) => {
    heartbeat();
    return { stories: [{ id: "a", title: goal }] };
  },
  tests: async ({ story }) => ({ tests: story.title }),
  implement: async ({ tool }) => ({ commit: tool }),
  review: async ({ commit }) => ({ review: commit }),
  judge: async () => ({ passed: true, feedback: "" }),
});
// @ts-expect-error one is missing
export const missing = activities<Subsystem>({ plan: async () => ({ stories: [] }) });
export const wrong = activities<Subsystem>({
  // @ts-expect-error its reply is another
  plan: async () => ({ tests: "" }),
  // @ts-expect-error its request has no such member
  tests: async ({ commit }) => ({ tests: commit }),
  implement: async () => ({ commit: "" }),
  review: async () => ({ review: "" }),
  judge: async () => ({ passed: true, feedback: "" }),
});

const called = { effect: "call", then: "stepped", timeout_ms: 1 } as const;
type Asked = EffectOf<Subsystem, "start">;
export const asked: Asked = { ...called, to: "plan", request: { loop: "a", goal: "b" } };
export const other: Asked = { ...called, to: "sessions:main", operation: "list", request: {} };
// @ts-expect-error there is no such activity
export const unknown: Asked = { ...called, to: "plans", request: { loop: "a", goal: "b" } };
// @ts-expect-error a member of the request is missing
export const part: Asked = { ...called, to: "plan", request: { loop: "a" } };
// @ts-expect-error there is no such command
export const then: Asked = { ...asked, then: "x" };
"""


@pytest.mark.skipif(not TSC.exists(), reason="its packages are missing: npm ci")
def test_activities_and_calls_that_the_contract_does_not_have_do_not_compile(
    tmp_path: Path,
) -> None:
    contract = read_json(CONTRACTS / "examples/agents/subsystem.json")
    (tmp_path / "types.ts").write_text(typescript.write(contract))
    (tmp_path / "yours.ts").write_text(YOURS)
    config = {
        "extends": str(PACKAGE / "tsconfig.json"),
        "compilerOptions": {
            "noUnusedLocals": False,
            "paths": {"joelclaw-bridge": [str(PACKAGE / "src/index.ts")]},
            "typeRoots": [str(PACKAGE / "node_modules/@types")],
        },
        "include": [str(tmp_path)],
    }
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    done = subprocess.run([str(TSC), "-p", str(tmp_path)], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("", 0)
