"""Logins through jump hosts: each host key is checked before anything is sent, and no secret reaches a jump host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import pytest
import trio

from actorsync.endpoints.sftp.endpoint import SftpEndpoint
from actorsync.endpoints.shared.proxy import Proxy
from actorsync.endpoints.ssh.settings import HostTrust, JumpHost, SshLogin
from actorsync.errors import ConnectionLost, LoginRefused
from actorsync.testing import open_forward_proxy
from tests.support.mirror import contents, mirror
from tests.support.scenarios import write
from tests.support.servers.debian_servers import PASSWORD, USER
from tests.support.servers.ssh_keys import Key, agent, make_key
from tests.support.servers.ssh_servers import OPENSSH, Options, openssh_server, require
from tests.support.servers.ssh_ways import SshWays, known_hosts, serving_ways

SECONDS = 20.0


@attrs.frozen
class Way:
    """Jump hosts that accept ``key``, and a server behind them that accepts the password."""

    jumps: Sequence[SshWays]
    server: SshWays
    key: Key
    trust: HostTrust

    def endpoint(
        self, *, trust: HostTrust | None = None, path: str = "", has_key: bool = True, proxy: Proxy | None = None
    ) -> SftpEndpoint:
        """Return an endpoint for the server, through the jump hosts."""
        login = SshLogin(USER, key_file=self.key.path if has_key else None, password=lambda: PASSWORD)
        jump = [one.jump for one in self.jumps]
        return SftpEndpoint("127.0.0.1", login, trust or self.trust, self.server.port, path, jump=jump, proxy=proxy)


@contextmanager
def way(folder: Path, *, jumps: int = 1, forwards: bool = True) -> Iterator[Way]:
    key = make_key(folder / "key")
    root = folder / "root"
    root.mkdir()
    with ExitStack() as stack:
        hosts = [
            stack.enter_context(
                serving_ways(SshWays(root=folder, user=f"jump{n}", authorized=[key.public_line], forwards=forwards))
            )
            for n in range(jumps)
        ]
        server = stack.enter_context(serving_ways(SshWays(root=root, steps=["password"])))
        yield Way(hosts, server, key, known_hosts(folder / "known", *hosts, server))


async def refusal(place: SftpEndpoint) -> str:
    with trio.fail_after(SECONDS), pytest.raises(LoginRefused) as refused:
        async with place.open_session():
            pass
    assert PASSWORD not in str(refused.value)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("jumps", [1, 3])
async def test_files_arrive_through_jump_hosts(jumps: int, tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path / "source" / f"d{number % 3}" / f"f{number}", b"%d" % number * 5_000)
    with way(tmp_path, jumps=jumps) as route:
        run = await mirror(tmp_path / "source", route.endpoint(path="www"), None, connections=2, settled=True)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert contents(tmp_path / "root" / "www") == contents(tmp_path / "source")
        ports = [*(one.port for one in route.jumps[1:]), route.server.port]
        for jump, port in zip(route.jumps, ports, strict=True):
            assert {text for kind, text in jump.received if kind == "forward"} == {f"127.0.0.1:{port}"}
            assert jump.count("password") == jump.count("answer") == 0


async def test_proxy_leads_to_the_first_jump_host_only(tmp_path: Path) -> None:
    async with open_forward_proxy("socks5") as running:
        with way(tmp_path, jumps=2) as route:
            endpoint = route.endpoint(proxy=Proxy("socks5", running.host, running.port))
            async with endpoint.open_session() as session:
                assert (await session.list_directory("")).problem is None
            assert running.asked == [("127.0.0.1", route.jumps[0].port)]


async def test_session_describes_each_jump_host(tmp_path: Path) -> None:
    with way(tmp_path, jumps=2) as route:
        async with route.endpoint().open_session() as session:
            found = [text for label, text in session.describe() if label == "jump host"]
    assert [text.partition(",")[0] for text in found] == [jump.jump.name for jump in route.jumps]
    assert all("SSH-2.0-AsyncSSH" in text for text in found)


@pytest.mark.parametrize("changed", [0, 1])
async def test_changed_key_of_a_jump_host_fails_before_any_login_there(changed: int, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    with way(tmp_path, jumps=2) as route:
        lines = route.trust.known_hosts.read_text().splitlines()
        lines[changed] = f"{lines[changed].split()[0]} {other.public_line.strip()}"
        route.trust.known_hosts.write_text("\n".join(lines))
        said = await refusal(route.endpoint())
        assert f"jump host {route.jumps[changed].jump.name}: THE HOST KEY HAS CHANGED" in said
        for server in (*route.jumps[changed:], route.server):
            assert server.received == [], "not even a user name was sent"


async def test_unknown_key_of_a_jump_host_fails_before_any_login(tmp_path: Path) -> None:
    with way(tmp_path) as route:
        said = await refusal(route.endpoint(trust=known_hosts(tmp_path / "less", route.server)))
        assert f"jump host {route.jumps[0].jump.name}: the server's host key is unknown" in said
        assert "run actorsync trust" in said
        assert route.jumps[0].received == route.server.received == []


async def test_changed_key_behind_a_jump_host_fails_before_the_password(tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    with way(tmp_path) as route:
        known_hosts(route.trust.known_hosts, *route.jumps)
        line = f"[127.0.0.1]:{route.server.port} {other.public_line}"
        route.trust.known_hosts.write_text(route.trust.known_hosts.read_text() + line)
        assert "THE HOST KEY HAS CHANGED" in await refusal(route.endpoint())
        assert route.server.received == []


async def test_pin_is_for_the_server_and_not_for_a_jump_host(tmp_path: Path) -> None:
    with way(tmp_path) as route:
        pin = route.server.host_keys[0].get_fingerprint()
        trust = HostTrust(known_hosts(tmp_path / "less", *route.jumps).known_hosts, pin)
        async with route.endpoint(trust=trust).open_session() as session:
            assert (await session.list_directory("")).problem is None
        trust = HostTrust(known_hosts(tmp_path / "less").known_hosts, pin)
        assert "jump host" in await refusal(route.endpoint(trust=trust))


async def test_jump_host_that_wants_a_password_gets_none(tmp_path: Path) -> None:
    with way(tmp_path) as route:
        route.jumps[0].steps = ["password"]
        said = await refusal(route.endpoint())
        assert f"jump host {route.jumps[0].jump.name}: the server rejected the login of jump0" in said
        assert "a jump host gets keys only" in said
        assert route.jumps[0].count("password") == 0


async def test_agent_serves_a_jump_host_beside_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a password for the server and no key in the profile, a jump host gets the keys of the agent, as in ssh."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with way(tmp_path) as route, agent(tmp_path, route.key.path) as socket:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        async with route.endpoint(has_key=False).open_session() as session:
            assert (await session.list_directory("")).problem is None
        assert route.server.count("key") == 0


async def test_jump_host_that_forwards_nothing_is_named(tmp_path: Path) -> None:
    with way(tmp_path, forwards=False) as route, pytest.raises(ConnectionLost) as lost:
        async with route.endpoint().open_session():
            pass
    assert str(lost.value).startswith(
        f"jump host {route.jumps[0].jump.name} does not connect to 127.0.0.1:{route.server.port}: "
    )
    assert "forwarding" in str(lost.value)


async def test_jump_host_that_is_down_is_named(tmp_path: Path) -> None:
    with way(tmp_path) as route:
        down = JumpHost("127.0.0.1", 1, "nobody")
        place = attrs.evolve(route.endpoint(), jump=[down])
        with pytest.raises(ConnectionLost, match=r"jump host nobody@127\.0\.0\.1:1: .*refused"):
            async with place.open_session():
                pass


async def test_lost_jump_host_is_connected_again(tmp_path: Path) -> None:
    with way(tmp_path) as route:
        place = route.endpoint()
        with pytest.raises(ConnectionLost):  # noqa: PT012 - the loss may be met by any of the listings
            async with place.open_session() as session:
                assert (await session.list_directory("")).problem is None
                route.jumps[0].cut()
                with trio.fail_after(SECONDS):
                    while True:
                        await session.list_directory("")
        async with place.open_session() as session:
            assert (await session.list_directory("")).problem is None


async def test_closed_session_leaves_no_connection_open(tmp_path: Path) -> None:
    with way(tmp_path, jumps=2) as route:
        async with route.endpoint().open_session():
            assert len(route.server.connections) == 1
        with trio.fail_after(SECONDS):
            for server in (*route.jumps, route.server):
                await trio.to_thread.run_sync(server.wait_closed, abandon_on_cancel=True)


async def test_host_key_behind_a_jump_host_is_shown(tmp_path: Path) -> None:
    with way(tmp_path) as route:
        place = route.endpoint(trust=known_hosts(tmp_path / "less", *route.jumps))
        first, second = [await place.show_host_key(index) for index in range(2)]
        assert place.servers == [route.jumps[0].jump.name, place.display]
        assert (first.standing, second.standing) == ("known", "unknown")
        assert second.fingerprint == route.server.host_keys[0].get_fingerprint()
        assert second.line.startswith(f"[127.0.0.1]:{route.server.port} ")
        assert route.server.received == [], "no login at the server itself"


async def test_host_key_behind_an_untrusted_jump_host_is_not_asked_for(tmp_path: Path) -> None:
    with way(tmp_path) as route, pytest.raises(LoginRefused, match=r"jump host .* is unknown"):
        await route.endpoint(trust=HostTrust(tmp_path / "none")).show_host_key()


@pytest.mark.parametrize("is_changed", [False, True], ids=["known", "changed"])
@pytest.mark.parametrize("name", [OPENSSH])
async def test_openssh_as_jump_host(name: str, is_changed: bool, server_folder: Path) -> None:
    require(OPENSSH)
    folders = [server_folder / name for name in ("jump", "server")]
    for folder in folders:
        (folder / "root").mkdir(parents=True)
    with (
        openssh_server(folders[0] / "root", folders[0], Options(more="AllowTcpForwarding yes")) as jump,
        openssh_server(folders[1] / "root", folders[1]) as server,
    ):
        key = make_key(server_folder / "other") if is_changed else None
        known = server_folder / "known"
        of_jump = f"[127.0.0.1]:{jump.target.port} {key.public_line}" if key else jump.target.known_hosts.read_text()
        known.write_text(of_jump + server.target.known_hosts.read_text())
        (folders[0] / "authorized_keys").write_text(make_key(server_folder / "k").public_line)
        place = SftpEndpoint(
            "127.0.0.1",
            SshLogin(USER, key_file=server_folder / "k", password=lambda: PASSWORD),
            HostTrust(known),
            server.target.port,
            jump=[JumpHost("127.0.0.1", jump.target.port, USER)],
        )
        if not is_changed:
            async with place.open_session() as session:
                assert (await session.list_directory("")).problem is None
            assert "Accepted password" in server.log()
            assert "Accepted publickey" in jump.log() and "password" not in jump.log()
            return
        assert "THE HOST KEY HAS CHANGED" in await refusal(place)
        assert not any(word in jump.log() for word in ("Accepted", "Failed", "Invalid user"))
        assert "Accepted" not in server.log()
