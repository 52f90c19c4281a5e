"""Public APIs of Coinbase Exchange, Kraken and Binance, in their documented shapes, served from an `Exchange`."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

if TYPE_CHECKING:
    from exchange_server import Exchange

COINBASE_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


def coinbase_ticker(exchange: "Exchange", symbol: str) -> dict[str, Any]:
    exchange.sequence += 1
    price, at = exchange.prices[symbol], datetime.fromtimestamp(exchange.trade_time(symbol), UTC)
    return {
        "type": "ticker",
        "sequence": exchange.sequence,
        "product_id": f"{symbol}-USD",
        "price": f"{price}",
        "open_24h": "1",
        "volume_24h": "1207.50668151",
        "low_24h": "1",
        "high_24h": "1",
        "volume_30d": "1",
        "best_bid": f"{price - 1}",
        "best_bid_size": "1",
        "best_ask": f"{price + 1}",
        "best_ask_size": "1",
        "side": "buy",
        "time": at.strftime(COINBASE_TIME),
        "trade_id": exchange.sequence,
        "last_size": "0.1",
    }


def kraken_ticker(exchange: "Exchange", symbol: str) -> dict[str, Any]:
    price = exchange.prices[symbol]
    row = {
        "symbol": f"{symbol}/USD",
        "bid": price - 1,
        "bid_qty": 1.0,
        "ask": price + 1,
        "ask_qty": 1.0,
        "last": price,
        "volume": 1.0,
        "vwap": price,
        "low": price,
        "high": price,
        "change": 0.0,
        "change_pct": 0.0,
    }
    return {"channel": "ticker", "type": "update", "data": [row]}


def application(exchange: "Exchange") -> web.Application:
    routes = web.RouteTableDef()

    @web.middleware
    async def faulty(request: web.Request, handler: Any) -> web.StreamResponse:
        exchange.requests.append(request.path_qs)
        for prefix, faults in exchange.faults.items():
            if request.path.startswith(prefix) and faults:
                return await faults.popleft()(request)
        return await handler(request)

    # Coinbase Exchange

    @routes.get("/coinbase/currencies")
    async def currencies(_: web.Request) -> web.Response:
        return web.json_response(
            [
                {
                    "id": c,
                    "name": c,
                    "min_size": "0.01",
                    "status": "online",
                    "max_precision": "0.01",
                    "details": {"type": "crypto"},
                    "supported_networks": [],
                }
                for c in ("BTC", "ETH", "USD")
            ]
        )

    @routes.get("/coinbase/products")
    async def products(_: web.Request) -> web.Response:
        return web.json_response(
            [
                {
                    "id": f"{c}-USD",
                    "base_currency": c,
                    "quote_currency": "USD",
                    "quote_increment": "0.01",
                    "base_increment": "0.00000001",
                    "display_name": f"{c}/USD",
                    "min_market_funds": "1",
                    "margin_enabled": False,
                    "post_only": False,
                    "limit_only": False,
                    "cancel_only": False,
                    "status": "online",
                    "status_message": "",
                    "trading_disabled": False,
                    "auction_mode": False,
                }
                for c in exchange.prices
            ]
        )

    @routes.get("/coinbase/products/{product}/ticker")
    async def ticker(request: web.Request) -> web.Response:
        symbol = request.match_info["product"].split("-")[0]
        price = exchange.prices[symbol]
        at = datetime.fromtimestamp(exchange.trade_time(symbol), UTC).strftime(COINBASE_TIME)
        return web.json_response(
            {
                "ask": f"{price + 1}",
                "bid": f"{price - 1}",
                "volume": "1207.50668151",
                "trade_id": "18502105",
                "price": f"{price}",
                "size": "0.00730812",
                "time": at,
                "rfq_volume": "7.669923",
            }
        )

    @routes.get("/coinbase/products/{product}/candles")
    async def candles(request: web.Request) -> web.Response:
        first, last = (datetime.fromisoformat(request.query[name]).timestamp() // 60 for name in ("start", "end"))
        if last - first > 300:
            return web.json_response({"message": "granularity too small for the requested time range"}, status=400)
        rows = [[m * 60, low, h, o, c, v] for m, (o, h, low, c, v) in exchange.candles(int(first), int(last))]
        return web.json_response(rows[::-1])

    @routes.get("/coinbase/time")
    async def coinbase_time(_: web.Request) -> web.Response:
        return web.json_response(
            {
                "iso": datetime.fromtimestamp(exchange.now(), UTC).strftime(COINBASE_TIME),
                "epoch": exchange.now(),
            }
        )

    @routes.get("/coinbase/ws")
    async def coinbase_socket(request: web.Request) -> web.WebSocketResponse:
        return await socket(
            request,
            lambda symbol: coinbase_ticker(exchange, symbol),
            {"type": "subscriptions", "channels": []},
            lambda body: [p.split("-")[0] for p in body["product_ids"]],
        )

    # Kraken

    @routes.get("/kraken/0/public/Assets")
    async def assets(_: web.Request) -> web.Response:
        known = {"XXBT": "XBT", "XETH": "ETH", "ZUSD": "USD"}
        return web.json_response(
            {
                "error": [],
                "result": {
                    k: {"aclass": "currency", "altname": a, "decimals": 10, "display_decimals": 5, "status": "enabled"}
                    for k, a in known.items()
                },
            }
        )

    @routes.get("/kraken/0/public/AssetPairs")
    async def pairs(_: web.Request) -> web.Response:
        def pair(base: str, alt: str) -> dict[str, Any]:
            return {
                "altname": f"{alt}USD",
                "wsname": f"{alt}/USD",
                "aclass_base": "currency",
                "base": base,
                "aclass_quote": "currency",
                "quote": "ZUSD",
                "lot": "unit",
                "cost_decimals": 5,
                "pair_decimals": 1,
                "lot_decimals": 8,
                "lot_multiplier": 1,
                "leverage_buy": [],
                "leverage_sell": [],
                "fees": [[0, 0.4]],
                "fees_maker": [[0, 0.25]],
                "ordermin": "0.0001",
                "costmin": "0.5",
                "tick_size": "0.1",
                "status": "online",
            }

        return web.json_response(
            {"error": [], "result": {"XXBTZUSD": pair("XXBT", "XBT"), "XETHZUSD": pair("XETH", "ETH")}}
        )

    @routes.get("/kraken/0/public/Ticker")
    async def kraken_rest_ticker(request: web.Request) -> web.Response:
        symbol = "ETH" if "ETH" in request.query["pair"] else "BTC"
        price = f"{exchange.prices[symbol]:.5f}"
        row = {
            "a": [price, "1", "1.000"],
            "b": [price, "1", "1.000"],
            "c": [price, "0.00009443"],
            "v": ["0.7", "163.2"],
            "p": [price, price],
            "t": [35, 3276],
            "l": [price, price],
            "h": [price, price],
            "o": price,
        }
        return web.json_response({"error": [], "result": {request.query["pair"]: row}})

    @routes.get("/kraken/0/public/OHLC")
    async def ohlc(request: web.Request) -> web.Response:
        newest = int(exchange.now() // 60)
        first = max(newest - exchange.kraken_depth + 1, int(float(request.query.get("since", 0)) // 60))
        rows = [
            [m * 60, f"{o}", f"{h}", f"{low}", f"{c}", f"{c}", f"{v}", 3]
            for m, (o, h, low, c, v) in exchange.candles(first, newest)
        ]
        return web.json_response({"error": [], "result": {request.query["pair"]: rows, "last": newest * 60}})

    @routes.get("/kraken/0/public/Time")
    async def kraken_time(_: web.Request) -> web.Response:
        return web.json_response({"error": [], "result": {"unixtime": int(exchange.now()), "rfc1123": ""}})

    @routes.get("/kraken/ws")
    async def kraken_socket(request: web.Request) -> web.WebSocketResponse:
        return await socket(
            request,
            lambda symbol: kraken_ticker(exchange, symbol),
            {"channel": "status", "type": "update", "data": [{"system": "online"}]},
            lambda body: [p.split("/")[0] for p in body["params"]["symbol"]],
        )

    # Binance

    @routes.get("/binance/api/v3/exchangeInfo")
    async def info(_: web.Request) -> web.Response:
        return web.json_response(
            {
                "timezone": "UTC",
                "serverTime": int(exchange.now() * 1000),
                "rateLimits": [],
                "exchangeFilters": [],
                "symbols": [
                    {
                        "symbol": f"{c}USDT",
                        "status": "TRADING",
                        "baseAsset": c,
                        "baseAssetPrecision": 8,
                        "quoteAsset": "USDT",
                        "quotePrecision": 8,
                        "quoteAssetPrecision": 8,
                        "orderTypes": ["LIMIT", "MARKET"],
                        "isSpotTradingAllowed": True,
                        "isMarginTradingAllowed": False,
                        "filters": [
                            {
                                "filterType": "PRICE_FILTER",
                                "minPrice": "0.01",
                                "maxPrice": "1000000",
                                "tickSize": "0.01",
                            },
                            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
                        ],
                        "permissions": ["SPOT"],
                        "permissionSets": [["SPOT"]],
                    }
                    for c in exchange.prices
                ],
            }
        )

    @routes.get("/binance/api/v3/ticker/24hr")
    async def binance_ticker(request: web.Request) -> web.Response:
        name = request.query["symbol"]
        price, at = f"{exchange.prices[name[:3]]:.8f}", int(exchange.trade_time(name[:3]) * 1000)
        return web.json_response(
            {
                "symbol": name,
                "priceChange": "0",
                "priceChangePercent": "0",
                "weightedAvgPrice": price,
                "prevClosePrice": price,
                "lastPrice": price,
                "lastQty": "1",
                "bidPrice": price,
                "bidQty": "1",
                "askPrice": price,
                "askQty": "1",
                "openPrice": price,
                "highPrice": price,
                "lowPrice": price,
                "volume": "1",
                "quoteVolume": "1",
                "openTime": at - 86_400_000,
                "closeTime": at,
                "firstId": 1,
                "lastId": 2,
                "count": 2,
            }
        )

    @routes.get("/binance/api/v3/klines")
    async def klines(request: web.Request) -> web.Response:
        first, limit = int(request.query["startTime"]) // 60_000, int(request.query.get("limit", 500))
        rows = exchange.candles(first, first + limit - 1)
        return web.json_response(
            [
                [m * 60_000, f"{o}", f"{h}", f"{low}", f"{c}", f"{v}", m * 60_000 + 59_999, "1", 55, "1", "1", "0"]
                for m, (o, h, low, c, v) in rows
            ]
        )

    @routes.get("/binance/api/v3/time")
    async def binance_time(_: web.Request) -> web.Response:
        return web.json_response({"serverTime": int(exchange.now() * 1000)})

    async def socket(
        request: web.Request,
        ticker_message: Callable[[str], Any],
        confirmation: Any,
        subscribed_symbols: Callable[[Any], list[str]],
    ) -> web.WebSocketResponse:
        socket_response = web.WebSocketResponse(autoping=True)
        await socket_response.prepare(request)
        entry = (socket_response, ticker_message)
        try:
            async for message in socket_response:
                if message.type is WSMsgType.TEXT:
                    body = json.loads(message.data)
                    if body.get("type") == "subscribe" or body.get("method") == "subscribe":
                        await socket_response.send_str(json.dumps(confirmation))
                        exchange.sockets.append(entry)
                        if not exchange.mute:
                            for symbol in subscribed_symbols(body):
                                await socket_response.send_str(json.dumps(ticker_message(symbol)))
        finally:
            if entry in exchange.sockets:
                exchange.sockets.remove(entry)
        return socket_response

    app = web.Application(middlewares=[faulty])
    app.add_routes(routes)
    return app
