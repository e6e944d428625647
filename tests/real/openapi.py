#!/usr/bin/env python3
"""The OpenAPI document of a running archive, judged by openapi-spec-validator: openapi.py BASE_URL

BASE_URL ends in the version (http://127.0.0.1:8080/v2). Both forms of the document are had and must say the
same; exit code 0 when it is a valid OpenAPI 3.0 document.
"""
import sys

import requests
import yaml
from openapi_spec_validator import OpenAPIV30SpecValidator


def main(base):
    as_json = requests.get(f"{base}/api.json")
    as_yaml = requests.get(f"{base}/api.yaml")
    assert as_json.status_code == as_yaml.status_code == 200
    assert as_json.headers["Content-Type"].startswith("application/json")
    assert as_yaml.headers["Content-Type"] == "application/yaml"
    document = as_json.json()
    assert yaml.safe_load(as_yaml.text) == document, "the two forms differ"
    assert document["servers"][0]["url"] == base, document["servers"]
    errors = [f"{'/'.join(map(str, error.path))}: {error.message}" for error in OpenAPIV30SpecValidator(document).iter_errors()]
    assert not errors, "\n".join(errors)
    print(f"openapi-spec-validator: {len(document['paths'])} paths")


main(sys.argv[1])
