"""`rollcall smoke`."""

import os
from datetime import timedelta

from rollcall.access.api_keys import ApiKeys
from rollcall.access.reach import ALL
from rollcall.stack.dynamo import Dynamo
from scripts.api import PATIENCE_SECONDS
from scripts.commands.common import KeyText, StackName, api, tell
from scripts.operate import smoke as smoking
from scripts.operate import stacks

SOURCE = "smoke"


def smoke(stack: StackName = None, key: KeyText = None) -> None:
    """Try a stack: send a few events of a day in 1970, upload some, and read the answers.

    Without --key or ROLLCALL_KEY, makes a key and revokes it at the end. Removes the uploaded file. The events and
    their counts stay. Exits with 1 at the first step that fails, and names that step.
    """
    found = stacks.find(stack)
    text = key or os.environ.get("ROLLCALL_KEY")
    if text:
        smoking.run(found, api(found, stack, text, PATIENCE_SECONDS), tell)
        return
    keys = ApiKeys(Dynamo(found.client("dynamodb")), found.output("AccessTableName"))
    made, text = keys.create("smoke test", ["ingest", "import", "read"], SOURCE, lifetime=timedelta(days=1))
    try:
        smoking.run(found, api(found, stack, text, PATIENCE_SECONDS), tell)
    finally:
        keys.revoke(made.key_id, ALL)
