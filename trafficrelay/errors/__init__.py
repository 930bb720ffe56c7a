"""What can go wrong, as one tree.

    RelayError
     ├── DeclarationError        a relay or a route is declared wrongly (also a ValueError)
     │    └── ConfigError            in a file such as relay.toml
     ├── Refusal                 a request is answered with a problem (RFC 9457)
     │    ├── Malformed              400  it cannot be read
     │    ├── Unverified             401  its sender did not prove who they are
     │    ├── NotFound               404  no route takes this path
     │    ├── MethodNotAllowed       405  the path has a route, the method has not
     │    ├── RequestTimeout         408  its body did not arrive in time
     │    ├── LengthRequired         411  the server cannot tell where its body ends
     │    ├── BodyTooLarge           413  its body is over the route's `max_body`
     │    ├── BecomesTooMuch         413  its body becomes more jobs than one request may
     │    ├── TooManyItems           413  its body holds more items than are taken at once
     │    ├── UnsupportedBody        415  its body is of a kind that is not read
     │    ├── Rejected               422  a transform turned it down on purpose
     │    ├── TooManyRequests        429  its sender, or its route, is over the rate
     │    ├── HeaderTooLarge         431  its header is larger than the relay takes
     │    ├── Failed                 500  the user's code failed and the route says "refuse"
     │    ├── UnknownCoding          501  it comes in a transfer coding that is not known
     │    └── Unavailable            503  the outbox cannot take it now
     ├── TransformError          a transform gave back something that cannot become a job
     ├── OutboxError             the outbox did not take an event
     │    ├── OutboxUnavailable      it does not answer, or says that it cannot write now
     │    │    └── OutboxAway           it was found so before, and is not asked until it is back
     │    ├── OutboxCorrupt          a key that it needs holds something else
     │    ├── LetterGone             the dead letter that was to be run again is not there
     │    ├── SpoolError             the spool's file cannot be written or read
     │    │    └── SpoolFull            it has reached its size, or the disk is full
     │    └── Declined               it could, but a limit of the route says no
     │         ├── RateExceeded         more events came than the route's `rate` allows
     │         ├── Backlogged           the queue is longer, or its oldest job older, than the route allows
     │         └── RoutePaused          somebody paused the route
     ├── DeadLetterError         a dead letter cannot be run again here
     ├── RetryLater              raised by a job: run me again after so many seconds
     ├── JobError                a worker does not run a job
     │    ├── JobRefused             it names what no route names
     │    ├── JobBroken              it cannot be read
     │    ├── ArgumentGone           its argument was kept aside and is gone
     │    └── WorkerLost             its worker died with it, and it is not run again
     ├── DeliveryError           an event could not be delivered
     │    ├── AddressForbidden       the host leads to an address that is not connected to
     │    ├── DestinationDisabled    it said before that it is gone
     │    ├── DeliveryFailed         it turned the event down, or no try reached it
     │    └── ConnectionFailed       there was no answer; another try may find one
     ├── TargetError             `module:relay` does not lead to a relay
     ├── ClientError             a test client cannot do what it is told
     ├── CannotSign              only its provider can sign a request, or no secret is known for it
     └── ServerError             a server could not be started or stopped
          └── DataDirectoryInUse     another process runs on the embedded server's data

Every error's text is a sentence that its reader can act on. None holds a secret, a payload or a URL's password.
"""

from __future__ import annotations

from .keeping import (
    Backlogged,
    DeadLetterError,
    Declined,
    LetterGone,
    OutboxAway,
    OutboxCorrupt,
    OutboxError,
    OutboxUnavailable,
    RateExceeded,
    RoutePaused,
    SpoolError,
    SpoolFull,
)
from .refusals import (
    BecomesTooMuch,
    BodyTooLarge,
    Failed,
    HeaderTooLarge,
    LengthRequired,
    Malformed,
    MethodNotAllowed,
    NotFound,
    Refusal,
    Rejected,
    RequestTimeout,
    TooManyItems,
    TooManyRequests,
    Unavailable,
    UnknownCoding,
    UnsupportedBody,
    Unverified,
)
from .root import (
    CannotSign,
    ClientError,
    ConfigError,
    DataDirectoryInUse,
    DeclarationError,
    RelayError,
    ServerError,
    TargetError,
    TransformError,
)
from .working import (
    AddressForbidden,
    ArgumentGone,
    ConnectionFailed,
    DeliveryError,
    DeliveryFailed,
    DestinationDisabled,
    JobBroken,
    JobError,
    JobRefused,
    RetryLater,
    WorkerLost,
)

__all__ = [
    "AddressForbidden",
    "ArgumentGone",
    "Backlogged",
    "BecomesTooMuch",
    "BodyTooLarge",
    "CannotSign",
    "ClientError",
    "ConfigError",
    "ConnectionFailed",
    "DataDirectoryInUse",
    "DeadLetterError",
    "DeclarationError",
    "Declined",
    "DeliveryError",
    "DeliveryFailed",
    "DestinationDisabled",
    "Failed",
    "HeaderTooLarge",
    "JobBroken",
    "JobError",
    "JobRefused",
    "LengthRequired",
    "LetterGone",
    "Malformed",
    "MethodNotAllowed",
    "NotFound",
    "OutboxAway",
    "OutboxCorrupt",
    "OutboxError",
    "OutboxUnavailable",
    "RateExceeded",
    "Refusal",
    "Rejected",
    "RelayError",
    "RequestTimeout",
    "RetryLater",
    "RoutePaused",
    "ServerError",
    "SpoolError",
    "SpoolFull",
    "TargetError",
    "TooManyItems",
    "TooManyRequests",
    "TransformError",
    "Unavailable",
    "UnknownCoding",
    "UnsupportedBody",
    "Unverified",
    "WorkerLost",
]
