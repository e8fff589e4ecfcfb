import socket
from typing import final

from twistvpn.interfaces import Address, Run

@final
class DatagramReader:
    def __new__(cls, sock: socket.socket, control_size: int) -> DatagramReader: ...
    def read(self) -> tuple[list[tuple[Run, Address]], int, int]: ...
