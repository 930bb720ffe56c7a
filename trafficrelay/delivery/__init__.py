"""Deliveries: jobs that forward events to URLs.

    from trafficrelay import Deliver

    relay.add(Route("/orders", verify=…, deliver=Deliver("https://shop.example/hook", sign=standard_webhooks(secret))))

- destination: what a route says of a destination; schedule: when it is tried again
- guard, special: which addresses may be connected to; transport, link, sockets: how; transports: a process's pools
- order, envelope: what a job carries; the request that it becomes
- outcome, kept, progress: what an answer means; what is kept of it; how far a delivery is
- circuit (and circuit.lua): what all workers know of a destination that is down or gone

`trafficrelay.deliver` is the job that ties them together. Importing what a route needs (`destination`, `schedule`,
`order`) loads neither urllib3 nor rq.
"""
