"""Groups (Gastown's convoys): named sets of tasks with progress, an owner, and a notice on completion.

`record` is what is stored, `progress` what the members' states imply, `service` sends notices from inside
the kernel, `commands` is ``tt group``.
"""
