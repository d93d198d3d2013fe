"""What holds the processes of a box beside namespaces: Landlock scopes, a filter of system calls, a keyring of its own.

Standard library only. Each is done where the system has it; `missing` says what it lacks.
Source: landlock(7), seccomp(2), keyctl(2), and the headers that they name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # the same number on every architecture
_LANDLOCK_VERSION = 1
_SCOPE_ABI = 6
_SCOPES = 1 | 2  # abstract Unix sockets, signals
_PR_SET_NO_NEW_PRIVS = 38
_JOIN_SESSION_KEYRING = 1

_CLONE_NEWUSER = 0x10000000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK

#: Number of the architecture, and of the system calls. Source: asm/unistd_64.h, asm-generic/unistd.h.
_ARCHITECTURES: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {
            "ioctl": 16, "socket": 41, "clone": 56, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272,
            "perf_event_open": 298, "setns": 308, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425, "clone3": 435,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "ioctl": 29, "socket": 198, "clone": 220, "add_key": 217, "request_key": 218, "keyctl": 219, "unshare": 97,
            "perf_event_open": 241, "setns": 268, "bpf": 280, "userfaultfd": 282, "io_uring_setup": 425, "clone3": 435,
        },
    ),
}  # fmt: skip


def missing() -> list[str]:
    """What this machine lacks, in words."""
    lacks: list[str] = []
    if _landlock_abi() < _SCOPE_ABI:
        lacks.append('Landlock of Linux 6.12: with network = "on", abstract Unix sockets of others can be reached')
    if filter_program() is None:
        lacks.append(f"a filter of system calls for {os.uname().machine}")
    return lacks


def scope_to_itself() -> None:
    """From here on, neither signals nor abstract Unix sockets of processes that are not below this one can be reached."""
    if _landlock_abi() < _SCOPE_ABI:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = struct.pack("=QQQ", 0, 0, _SCOPES)
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset failed")
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0):
        raise OSError(ctypes.get_errno(), "landlock_restrict_self failed")
    os.close(ruleset)


def leave_session_keyring() -> None:
    """Exchange the keyring of the person's session for an empty one."""
    _, numbers = _ARCHITECTURES.get(os.uname().machine, (0, {}))
    if "keyctl" in numbers:
        ctypes.CDLL(None).syscall(numbers["keyctl"], _JOIN_SESSION_KEYRING, None)


def filter_program() -> bytes | None:
    """A seccomp filter; None for a machine whose system calls are not known here.

    It refuses what needs no right and that no namespace holds: other families of sockets (vsock reaches the host of a
    virtual machine), io_uring (which would pass by the filter), keyrings, bpf, perf, userfaultfd, typing into a
    terminal; and further user namespaces, for a bwrap that cannot.
    """
    if os.uname().machine not in _ARCHITECTURES or sys.maxsize < 1 << 32:
        return None
    architecture, numbers = _ARCHITECTURES[os.uname().machine]
    allow = _return(0x7FFF0000)
    code = [
        _load(4),
        _jump_equal(architecture, 1, 0),
        _refuse(errno.ENOSYS),
        _load(0),
        _statement(0x35, 0x40000000, 0, 1),  # x32: the same calls by other numbers
        _refuse(errno.ENOSYS),
    ]
    for name in ("add_key", "request_key", "keyctl", "perf_event_open", "setns", "bpf", "userfaultfd"):
        code += [_jump_equal(numbers[name], 0, 1), _refuse(errno.EPERM)]
    for name in ("io_uring_setup", "clone3"):  # callers fall back on what can be looked into
        code += [_jump_equal(numbers[name], 0, 1), _refuse(errno.ENOSYS)]
    for name in ("clone", "unshare"):
        test = [_load(16), _statement(0x45, _CLONE_NEWUSER, 0, 1), _refuse(errno.EPERM), allow]
        code += [_jump_equal(numbers[name], 0, len(test)), *test]
    families = [_jump_equal(family, len(_FAMILIES) - place, 0) for place, family in enumerate(_FAMILIES)]
    test = [_load(16), *families, _refuse(errno.EAFNOSUPPORT), allow]
    code += [_jump_equal(numbers["socket"], 0, len(test)), *test]
    test = [_load(24), _jump_equal(_TIOCSTI, 1, 0), _jump_equal(_TIOCLINUX, 0, 1), _refuse(errno.EPERM), allow]
    code += [_jump_equal(numbers["ioctl"], 0, len(test)), *test]
    return b"".join([*code, allow])


def _statement(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)


def _load(offset: int) -> bytes:
    """Load 32 bits of ``struct seccomp_data``: 0 is the number, 4 the architecture, from 16 on the arguments."""
    return _statement(0x20, offset)


def _jump_equal(operand: int, if_equal: int, otherwise: int) -> bytes:
    return _statement(0x15, operand, if_equal, otherwise)


def _refuse(number: int) -> bytes:
    """Let the call fail with this error number."""
    return _return(0x00050000 | number)


def _return(action: int) -> bytes:
    return _statement(0x06, action)


def _landlock_abi() -> int:
    """The version of Landlock; negative without."""
    if sys.platform != "linux":
        return -1
    return int(ctypes.CDLL(None, use_errno=True).syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION))
