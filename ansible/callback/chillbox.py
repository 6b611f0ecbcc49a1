"""Tells run.ts what happens, one JSON object a line: {"task"}, {"error", "unreachable"}, {"result"}. The result is what the last task's message says."""

import json
import sys

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: chillbox
type: stdout
short_description: lines of JSON for run.ts
description: Prints the name of each task, the message of each failure, and the message of the task named Report.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "chillbox"

    def v2_playbook_on_task_start(self, task, is_conditional):
        _tell(task=task.get_name())

    def v2_runner_on_failed(self, result, ignore_errors=False):
        if not ignore_errors:
            _tell(error=_message(result._result))

    def v2_runner_on_unreachable(self, result):
        _tell(error=_message(result._result), unreachable=True)

    def v2_runner_on_ok(self, result):
        if result._task.get_name() == "Report":
            _tell(result=result._result.get("msg"))


def _message(result):
    return str(result.get("stderr") or result.get("msg") or result.get("censored") or "it failed without a word")


def _tell(**event):
    print(json.dumps(event), flush=True, file=sys.stdout)
