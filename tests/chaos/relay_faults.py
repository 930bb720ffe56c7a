"""What is done to the relay's processes and to the replies that it waits for."""

from __future__ import annotations

from .stage import Stage
from .wire import ANY, LOSSES

_WIRE_SECONDS = 3.0


def kill_a_process(stage: Stage, number: int) -> None:
    """Kill a server process, or the main process alone, or all of them."""
    stage.rest(stage.dice.uniform(0.02, 0.6))
    match stage.dice.choices(("one", "main", "all"), (6, 2, 2))[0]:
        case "one":
            stage.relay.kill_one(stage.dice)
        case "main":
            stage.relay.kill_main()
        case _:
            stage.relay.kill_all()
    stage.rest(stage.dice.uniform(0.02, 0.6))
    stage.wait_for_answers()


def lose_replies(stage: Stage, number: int) -> None:
    """Lose the reply to the n-th command from now on, and often one of those that follow: n is 1 to 40 by turns.

    In every tenth round Valkey has forgotten the script and the reply to loading it is lost, in every tenth another one
    of those that a new connection begins with. Sometimes the relay has just been started.
    """
    position, dice = (number - 1) % 40 + 1, stage.dice
    if fresh := number % 50 == 0:
        stage.relay.kill_all()
    name = ANY
    if number % 10 == 5:
        name, position = "SCRIPT", 1
        with stage.valkey.client() as client:
            client.script_flush()
    elif number % 10 == 9:
        # They are said when a connection is made, and one is made when a reply is lost.
        name, position = dice.choice(("HELLO", "CLIENT", "TIME")), 1
        stage.wire.ask(f"lose EVALSHA 1 {dice.choice(LOSSES)}")
    stage.wire.ask(f"lose {name} {position} {dice.choice(LOSSES)}")
    if dice.random() < 0.4:
        stage.wire.ask(f"lose ANY {position + dice.randint(1, 6)} {dice.choice(LOSSES)}")
    stage.patience(lambda: not stage.wire.ask("status")["waiting"], _WIRE_SECONDS)
    stage.note("losses that did not come about", stage.wire.ask("forget")["waiting"])
    if fresh:
        stage.wait_for_answers()
    for what, count in stage.wire.ask("status")["lost"].items():
        stage.notes[f"lost {what}"] = count
