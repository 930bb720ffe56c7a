"""Relays that take their Redis, queues and defaults from the settings of the program that they are mounted in.

    from trafficrelay.hosts.django import relay_from_django
    from trafficrelay.hosts.flask import relay_from_flask

Each needs its framework and the framework's own package for RQ, and is imported by who has them.
"""
