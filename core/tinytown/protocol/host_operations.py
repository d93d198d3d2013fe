"""Operations of kernels as hosts: their leases and those of the town. Pure, no IO."""

from __future__ import annotations

from collections.abc import Mapping

from tinytown.model.ids import check_id
from tinytown.model.results import Host
from tinytown.protocol import decoders
from tinytown.protocol.operation import Operation
from tinytown.protocol.operation_base import OperationBase, flat


class HostOperations(OperationBase):
    """Registering, heartbeats, leases."""

    def register_host(self, host: str, *, lease_ms: int, details: Mapping[str, str]) -> Operation[tuple[str, ...]]:
        """Register a kernel in the town; ids of kernels whose leases had expired."""
        return self._once("host_register", decoders.to_texts, check_id("a host id", host), lease_ms, *flat(details))

    def heartbeat(
        self,
        host: str,
        *,
        lease_ms: int,
        capacity: int | None = None,
        trouble: str = "",
        frozen: int | None = None,
        boot_ms: int | None = None,
    ) -> Operation[tuple[str, ...]]:
        """Renew a kernel's lease and release what lost kernels held; ``frozen`` or ``thawed``, then what its agents may not have
        heard of mail, rounds to end and desired states, as on its channel.

        `capacity` is how many agents it takes at most from now on, 0 before it deregisters; `trouble` why it begins no rounds;
        `frozen` how many commands it has frozen with the town; `boot_ms` the time since its machine was started, by which a
        server's clock that was set is noticed.
        """
        counts = ["" if count is None else count for count in (capacity, frozen, boot_ms)]
        return self._call("host_heartbeat", decoders.to_texts, host, lease_ms, counts[0], trouble, *counts[1:])

    def deregister_host(self, host: str, *, reason: str) -> Operation[int]:
        """Deregister a kernel; its agents are free for others at once."""
        return self._call("host_deregister", int, host, reason)

    def hosts(self) -> Operation[tuple[Host, ...]]:
        """The registered kernels."""
        return self._call("hosts", decoders.to_hosts)

    def acquire_lease(self, name: str, holder: str, *, lease_ms: int) -> Operation[bool]:
        """Take or renew a lease of the town, for work that only one kernel does; whether the holder has it."""
        return self._call("lease_acquire", bool, check_id("a lease's name", name), holder, lease_ms)

    def release_lease(self, name: str, holder: str) -> Operation[bool]:
        """Release a lease before it expires."""
        return self._once("lease_release", bool, name, holder)
