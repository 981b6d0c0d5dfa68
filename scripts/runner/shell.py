# SPDX-License-Identifier: GPL-2.0
"""Connects the user's terminal with a guest's console."""

import os
import sys
import termios
import threading
import tty

from . import machine


class Terminal:
    """Between attach and detach, the terminal is the guest's."""

    def __init__(self, host):
        self._host = host
        self._saved = None

    def attach(self):
        sys.stdout.flush()
        self._saved = termios.tcgetattr(0)
        tty.setraw(0)
        self._host.raw = self._show
        threading.Thread(target=self._type, daemon=True).start()

    def detach(self):
        self._host.raw = None
        if self._saved:
            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
            self._saved = None

    def _show(self, data):
        # The agent's message about the end is not for the user.
        text, marker, _ = data.partition(b"@hv ")
        os.write(1, text)
        if marker:
            self.detach()

    def _type(self):
        while self._saved and (data := os.read(0, 4096)):
            if self._saved:
                try:
                    self._host.send(data)
                except machine.Dead:
                    return
