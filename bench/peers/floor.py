"""floor.c once more, in Python: what is left of a send() to each client when the loop around it is interpreted."""

import select
import socket
import sys
import time


def accept_all(port: int, clients: int) -> list[socket.socket]:
    with socket.create_server(("127.0.0.1", port), backlog=4096) as listening:
        listening.settimeout(30)
        accepted = []
        for _ in range(clients):
            client, _address = listening.accept()
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            accepted.append(client)
        return accepted


def build(seq: int, size: int, end: str) -> bytes:
    head = f'42["job-progress",{{"seq":{seq},"pad":"'
    tail = f'","details":{{"t":{time.monotonic_ns()}{end}}}}}]'
    text = head + "x" * (size - len(head) - len(tail)) + tail
    return b"\x81\x7e" + len(text).to_bytes(2, "big") + text.encode()


def send_rest(client: socket.socket, rest: bytes) -> None:
    while rest:
        if not select.select([], [client], [], 5)[1]:
            sys.exit("floor: a client does not read")
        rest = rest[client.send(rest) :]


def go(clients: list[socket.socket], seq: int, events: int, rate: int, size: int) -> None:
    start = time.monotonic()
    for n in range(events):
        if rate:
            time.sleep(max(0, start + n / rate - time.monotonic()))
        frame = build(seq + n, size, ',"end":true' if n + 1 == events else "")
        for client in clients:
            sent = client.send(frame)
            if sent < len(frame):
                send_rest(client, frame[sent:])


def main() -> None:
    clients = accept_all(int(sys.argv[1]), int(sys.argv[2]))
    seq = 1
    for line in sys.stdin:
        events, rate, size = map(int, line.split()[1:])
        go(clients, seq, events, rate, size)
        seq += events
        print('{"ok":true}', flush=True)


main()
