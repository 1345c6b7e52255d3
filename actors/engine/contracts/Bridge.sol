// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// @title The way back to Bitcoin
/// @notice Coins sent with `requestPegOut` are burned: this contract has no function that pays out, so they stay
/// here for ever, and the federation pays the same amount on Bitcoin once it has seen the event in a committed block.
/// @dev The code is placed by genesis at 0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB. There is no constructor and no
/// storage; all parameters are constants. Nobody owns it and nothing can change it.
contract Bridge {
    /// @notice One satoshi in wei: 1 BTC is 10^18 wei here and 10^8 satoshis on Bitcoin.
    uint256 public constant WEI_PER_SATOSHI = 1e10;

    /// @notice Smallest burn: 10,000 satoshis. Equal to `min_peg_out` of the chain specification.
    uint256 public constant MINIMUM_AMOUNT = 10_000 * WEI_PER_SATOSHI;

    /// @notice Longest address in bytes. The longest bech32 address of any network has 90 characters.
    uint256 public constant MAXIMUM_ADDRESS_LENGTH = 100;

    /// @notice `amount` wei were burned by `sender`, to be paid to `bitcoinAddress` on Bitcoin.
    event RequestPegOut(address indexed sender, bytes bitcoinAddress, uint256 amount);

    /// @notice The burn is smaller than `minimum` wei: the Bitcoin fee would eat it.
    error AmountBelowMinimum(uint256 amount, uint256 minimum);

    /// @notice The amount is not a whole number of satoshis: the rest could not be paid.
    error AmountNotWholeSatoshis(uint256 amount);

    /// @notice The address has no byte or more than `MAXIMUM_ADDRESS_LENGTH` bytes.
    error AddressLengthOutOfRange(uint256 length);

    /// @notice Burns the coins sent along and asks for the same amount on Bitcoin.
    /// @param bitcoinAddress Text of the address, as a wallet shows it. It is not parsed here; one that does not
    /// belong to the right Bitcoin network is refunded to `msg.sender` by the federation.
    function requestPegOut(bytes calldata bitcoinAddress) external payable {
        if (msg.value < MINIMUM_AMOUNT) revert AmountBelowMinimum(msg.value, MINIMUM_AMOUNT);
        if (msg.value % WEI_PER_SATOSHI != 0) revert AmountNotWholeSatoshis(msg.value);
        uint256 length = bitcoinAddress.length;
        if (length == 0 || length > MAXIMUM_ADDRESS_LENGTH) revert AddressLengthOutOfRange(length);
        emit RequestPegOut(msg.sender, bitcoinAddress, msg.value);
    }
}
