"""Groups (Gastown's convoys): a named set of tasks with progress, an owner, and word when all of it is completed.

`record` is what is kept, `progress` what follows from the members' states, `service` tells of completion from inside
the kernel, `commands` is ``tt group``.
"""
