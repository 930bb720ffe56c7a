"""The sweep: finds accepted jobs that workers lost, and puts them back.

`sweeper` is the sweep itself, `thread` runs it beside something else; `trafficrelay sweep` runs it once.
"""
