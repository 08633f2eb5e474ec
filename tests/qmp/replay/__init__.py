"""Replays recorded QMP conversations ("vectors") against a server, and says where it answers differently.

A vector is one line of a *.jsonl file: what happens on the host, what is sent, what comes back. ../README.md has the
format. The vectors were recorded from QEMU itself, so this is the closest thing to a definition of "as QEMU speaks
it". Python's standard library only: this runs wherever the tests run, and shares no code with the server.

matching   patterns inside expectations
peers      back ends and switches that answer just enough
host       what a vector does to the host: sockets, files, tap descriptors
wire       one QMP connection
vector     one vector, step by step
server     starting and ending the server under test
__main__   the command line and the report
"""
