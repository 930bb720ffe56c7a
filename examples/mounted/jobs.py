def on_reading(data):
    return max(data["celsius"])


def on_beacon(query):
    return query["page"]
