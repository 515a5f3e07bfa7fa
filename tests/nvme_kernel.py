"""Kernels that can offer and use volumes by NVMe, as sysfs and configfs show it, for tests of the drivers.

It refuses what the kernel refuses: folders that are not empty or linked to, devices that are not there, hosts
that are not let in.
"""

import re

from bollard.satellite.host.base import Cmd, Done, HostError

NVMET = "/sys/kernel/config/nvmet"


def refused(path: str, code: str = "kernel-refused") -> HostError:
    return HostError(f"refused {path}", code=code, cause="The test's kernel refuses it.")


class Wire:
    """All the kernels that reach each other."""

    def __init__(self) -> None:
        self.kernels: list[NvmeKernel] = []

    def find(self, address: str, service: str, subsystem: str, host: str) -> "NvmeKernel | None":
        for kernel in self.kernels:
            for port in kernel.below(f"{NVMET}/ports"):
                folder = f"{NVMET}/ports/{port}"
                here = (kernel.files[f"{folder}/addr_traddr"], kernel.files[f"{folder}/addr_trsvcid"])
                linked = f"{folder}/subsystems/{subsystem}" in kernel.links
                allowed = f"{NVMET}/subsystems/{subsystem}/allowed_hosts/{host}" in kernel.links
                if here == (address, service) and linked and allowed:
                    return kernel
        return None


class NvmeKernel:
    """One machine; `devices` are block devices and their sizes in sectors."""

    def __init__(self, wire: Wire, devices: dict[str, int]) -> None:
        self.devices = devices
        self.files: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.folders = {NVMET, *(f"{NVMET}/{name}" for name in ("subsystems", "ports", "hosts"))}
        self.connected: dict[str, dict[str, str]] = {}
        self.claimed: set[str] = set()
        self.changes: list[str] = []
        self._wire = wire
        wire.kernels.append(self)

    def below(self, folder: str) -> tuple[str, ...]:
        paths = (*self.folders, *self.links)
        return tuple(sorted(path.rpartition("/")[2] for path in paths if path.rpartition("/")[0] == folder))

    async def names(self, path: str) -> tuple[str, ...]:
        if path == "/sys/class/nvme":
            return tuple(sorted(self.connected))
        if found := re.fullmatch(r"/sys/class/nvme/(\w+)", path):
            return tuple(f"{found[1]}n{number}" for number in sorted(self._spaces(found[1])))
        return ("loaded",) if path.startswith("/sys/module/") else self.below(path)

    def _spaces(self, controller: str) -> dict[int, tuple[str, int]]:
        """Numbers with uuid and sectors, as the other side offers them now."""
        link = self.connected[controller]
        target = self._wire.find(link["traddr"], link["trsvcid"], link["subsysnqn"], link["hostnqn"])
        if target is None:
            return {}
        folder = f"{NVMET}/subsystems/{link['subsysnqn']}/namespaces"
        return {
            int(number): (
                target.files[f"{folder}/{number}/device_uuid"],
                target.devices[target.files[f"{folder}/{number}/device_path"]],
            )
            for number in target.below(folder)
            if target.files[f"{folder}/{number}/enable"] == "1"
        }

    async def read(self, path: str) -> str | None:
        if found := re.fullmatch(r"/sys/class/nvme/(\w+)/(\w+)", path):
            return self.connected[found[1]].get(found[2])
        if found := re.fullmatch(r"/sys/block/(nvme\d+)n(\d+)/(\w+)", path):
            uuid, sectors = self._spaces(found[1])[int(found[2])]
            return {"uuid": uuid, "size": str(sectors), "nsid": found[2]}[found[3]]
        if found := re.fullmatch(r"/sys/dev/block/7:(\d+)/size", path):
            return str(list(self.devices.values())[int(found[1])])
        return self.files.get(path)

    async def write(self, path: str, text: str) -> None:
        self.changes.append(f"{path}={text}")
        if found := re.fullmatch(r"/sys/class/nvme/(\w+)/(\w+)", path):
            if found[2] == "delete_controller":
                del self.connected[found[1]]
            return
        if path not in self.files:
            raise refused(path)
        folder, _, name = path.rpartition("/")
        if name == "enable" and text == "1" and self.files[f"{folder}/device_path"] not in self.devices:
            raise refused(path)
        if name in {"device_path", "device_uuid"} and self.files[f"{folder}/enable"] == "1":
            raise refused(path, "busy")
        self.files[path] = text

    async def make(self, path: str) -> bool:
        parent, _, _ = path.rpartition("/")
        if path in self.folders:
            return False
        if parent not in self.folders:
            raise refused(path)
        self.changes.append(f"make {path}")
        self.folders.add(path)
        match parent.removeprefix(NVMET).split("/"):
            case ["", "subsystems"]:
                self.folders |= {f"{path}/namespaces", f"{path}/allowed_hosts"}
                self.files[f"{path}/attr_allow_any_host"] = "0"
            case ["", "subsystems", _, "namespaces"]:
                given = {
                    "device_path": "(null)",
                    "device_uuid": "random",
                    "enable": "0",
                    "revalidate_size": "",
                }
                self.files |= {f"{path}/{name}": value for name, value in given.items()}
            case ["", "ports"]:
                self.folders.add(f"{path}/subsystems")
                for name in ("trtype", "adrfam", "traddr", "trsvcid"):
                    self.files[f"{path}/addr_{name}"] = ""
        return True

    async def drop(self, path: str) -> bool:
        if path not in self.folders:
            return False
        kept = ("/namespaces", "/allowed_hosts", "/subsystems")
        inside = [one for one in self.folders if one.startswith(path + "/") and not one.endswith(kept)]
        if inside or path in self.links.values() or any(one.startswith(path + "/") for one in self.links):
            raise refused(path, "busy")
        self.changes.append(f"drop {path}")
        self.folders = {one for one in self.folders if one != path and not one.startswith(path + "/")}
        self.files = {name: text for name, text in self.files.items() if not name.startswith(path + "/")}
        return True

    async def link(self, path: str, to: str) -> bool:
        if path in self.links:
            return False
        if to not in self.folders:
            raise refused(path)
        self.changes.append(f"link {path}")
        self.links[path] = to
        return True

    async def unlink(self, path: str) -> bool:
        return self.links.pop(path, None) is not None

    async def ask(self, path: str, text: str) -> str:
        given = dict(word.split("=", 1) for word in text.split(","))
        if self._wire.find(given["traddr"], given["trsvcid"], given["nqn"], given["hostnqn"]) is None:
            raise refused(path)
        instance = len(self.connected)
        self.connected[f"nvme{instance}"] = {
            **given,
            "subsysnqn": given["nqn"],
            "address": f"traddr={given['traddr']},trsvcid={given['trsvcid']},src_addr=x",
            "state": "live",
        }
        return f"instance={instance},cntlid=1"

    async def device(self, path: str) -> str:
        return f"7:{list(self.devices).index(path)}" if path in self.devices else ""

    async def in_use(self, path: str) -> bool:
        return path in self.claimed

    def path_of(self, program: str) -> str | None:
        return "/sbin/" + program

    async def run(self, cmd: Cmd) -> Done:
        return Done(0, b"", b"")
