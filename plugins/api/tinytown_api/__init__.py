"""A town in Python: everything a person does with ``tt``, as typed methods on trio, and a way in for programs on asyncio.

    async with Town.open(".") as town:
        designer = await town.spawn("designer", cli="claude")
        reply = await designer.ask("Which tables do we need?")
        await designer.assign(f"Write the schema of {reply.text}")

`Town` and `AgentHandle` are those of the core with more methods; `Mailbox` consumes mail under a lease; `TrioThread` runs all of
it beside an asyncio loop.
"""

from tinytown_api.asking import NoAnswer as NoAnswer
from tinytown_api.mailbox import Letter as Letter, Mailbox as Mailbox
from tinytown_api.town import AgentHandle as AgentHandle, Town as Town
from tinytown_api.trio_thread import TrioThread as TrioThread, open_trio_thread as open_trio_thread
