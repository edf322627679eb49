"""A client of the service for portals and other programs in Python.

It needs urllib3 and nothing else: neither the web framework nor the models of the server.

Example:
    >>> with Client("http://127.0.0.1:8080", "KEY") as service:
    ...     service.url
    'http://127.0.0.1:8080'
"""

from serving.client.answers import (
    Activity,
    Complaint,
    Cure,
    Dismissal,
    Eligibility,
    Held,
    Item,
    Known,
    KnownMonth,
    KnownProfile,
    Offer,
    OfferPrice,
    Offers,
    Placement,
    Price,
    Readiness,
    Reason,
    Recommendations,
    Recorded,
    Refusal,
    RefusedOffer,
    Source,
    Versions,
)
from serving.client.client import Client
from serving.client.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NoAnswerError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    ServiceError,
    UnauthenticatedError,
    UnavailableError,
)
from serving.client.questions import EligibilityQuestion, Event, Holding, Month, Profile, Question, Wanted
from serving.client.transport import Patience

__all__ = [
    "Activity",
    "Client",
    "Complaint",
    "ConflictError",
    "Cure",
    "Dismissal",
    "Eligibility",
    "EligibilityQuestion",
    "Event",
    "ForbiddenError",
    "Held",
    "Holding",
    "InvalidError",
    "Item",
    "Known",
    "KnownMonth",
    "KnownProfile",
    "Month",
    "NoAnswerError",
    "NotFoundError",
    "Offer",
    "OfferPrice",
    "Offers",
    "Patience",
    "Placement",
    "Price",
    "Profile",
    "Question",
    "RateLimitedError",
    "Readiness",
    "Reason",
    "Recommendations",
    "Recorded",
    "Refusal",
    "RefusedError",
    "RefusedOffer",
    "ServiceError",
    "Source",
    "UnauthenticatedError",
    "UnavailableError",
    "Versions",
    "Wanted",
]
